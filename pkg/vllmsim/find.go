package vllmsim

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/batchagent/batchagent/pkg/vllmsim/internal/sample"
)

const (
	cachedSchemas = 512
	maxStarts     = 256 // places in one text that are searched for a schema
)

// answerSchema is a schema that an answer must follow.
type answerSchema = sample.Schema

// schemaCache compiles schemas once and remembers which texts contain one. It is safe for concurrent use.
type schemaCache struct {
	seed     maphash.Seed
	compiled *lru.Cache[uint64, compiled]
	found    *lru.Cache[uint64, *sample.Schema] // nil: the text contains no schema
}

type compiled struct {
	schema *sample.Schema
	err    error
}

func newSchemaCache() (*schemaCache, error) {
	c, err := lru.New[uint64, compiled](cachedSchemas)
	if err != nil {
		return nil, fmt.Errorf("schema cache: %w", err)
	}
	f, err := lru.New[uint64, *sample.Schema](cachedSchemas)
	if err != nil {
		return nil, fmt.Errorf("schema cache: %w", err)
	}
	return &schemaCache{seed: maphash.MakeSeed(), compiled: c, found: f}, nil
}

func (c *schemaCache) compile(raw []byte) (*sample.Schema, error) {
	key := maphash.Bytes(c.seed, raw)
	if hit, ok := c.compiled.Get(key); ok {
		return hit.schema, hit.err
	}
	s, err := sample.Compile(raw)
	c.compiled.Add(key, compiled{s, err})
	return s, err
}

// inMessages returns the first schema in the operator's or the user's messages, or nil.
func (c *schemaCache) inMessages(messages []message) *sample.Schema {
	for _, operator := range []bool{true, false} {
		for i := range messages {
			m := &messages[i]
			if m.instructs() != operator || !operator && m.Role != "user" {
				continue
			}
			if s := c.inText(string(m.Content)); s != nil {
				return s
			}
		}
	}
	return nil
}

func (c *schemaCache) inText(text string) *sample.Schema {
	if !strings.Contains(text, `"type"`) && !strings.Contains(text, `"properties"`) {
		return nil
	}
	key := maphash.String(c.seed, text)
	if s, ok := c.found.Get(key); ok {
		return s
	}
	s := c.search(text)
	c.found.Add(key, s)
	return s
}

// search compiles the first {…} block of a text that is a schema. It returns nil without one.
func (c *schemaCache) search(text string) *sample.Schema {
	at := 0
	for range maxStarts {
		next := strings.IndexByte(text[at:], '{')
		if next < 0 {
			return nil
		}
		at += next
		var raw json.RawMessage
		if json.NewDecoder(strings.NewReader(text[at:])).Decode(&raw) == nil && looksLikeSchema(raw) {
			if s, err := c.compile(raw); err == nil {
				return s
			}
		}
		at++
	}
	return nil
}

// looksLikeSchema distinguishes a schema from an example: it must be the schema of an object or an array.
func looksLikeSchema(raw []byte) bool {
	var s struct {
		Type       any             `json:"type"`
		Properties json.RawMessage `json:"properties"`
		Items      json.RawMessage `json:"items"`
	}
	if json.Unmarshal(raw, &s) != nil {
		return false
	}
	if len(s.Properties) > 0 && s.Properties[0] == '{' {
		return true
	}
	return s.Type == "object" || s.Type == "array" && len(s.Items) > 0
}

package owntool

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/batchagent/batchagent/pkg/plainjson"
)

var placeholder = regexp.MustCompile(`\{[A-Za-z_][A-Za-z0-9_]*\}`)

// names returns the placeholders in text, without braces.
func names(text string) []string {
	found := placeholder.FindAllString(text, -1)
	for i, f := range found {
		found[i] = strings.Trim(f, "{}")
	}
	return found
}

// fill replaces the placeholders in text by arguments. A missing optional argument becomes empty. given reports whether
// any argument was present.
func fill(text string, args map[string]any, escape func(string) string) (out string, given bool) {
	out = placeholder.ReplaceAllStringFunc(text, func(p string) string {
		v, ok := args[strings.Trim(p, "{}")]
		if !ok || v == nil {
			return ""
		}
		given = true
		return escape(textOf(v))
	})
	return out, given
}

// textOf returns an argument as text: a string unchanged, any other value as JSON.
func textOf(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	text, _ := plainjson.Marshal(v) //nolint:errchkjson // v was decoded from JSON
	return string(text)
}

func readArgs(args json.RawMessage) (map[string]any, error) {
	var a map[string]any
	dec := json.NewDecoder(bytes.NewReader(args))
	dec.UseNumber()
	if err := dec.Decode(&a); err != nil {
		return nil, fmt.Errorf("read arguments: %w", err)
	}
	return a, nil
}

// checkPlaceholders returns an error for a placeholder without a parameter.
func checkPlaceholders(parameters json.RawMessage, texts ...string) error {
	var schema struct {
		Properties map[string]json.RawMessage
	}
	if err := json.Unmarshal(parameters, &schema); err != nil {
		return fmt.Errorf("parameters: %w", err)
	}
	var known []string
	for name := range schema.Properties {
		known = append(known, name)
	}
	slices.Sort(known)
	for _, text := range texts {
		for _, name := range names(text) {
			if !slices.Contains(known, name) {
				return fmt.Errorf("there is no parameter for the placeholder {%s}; the parameters are: %s", name, strings.Join(known, ", "))
			}
		}
	}
	return nil
}

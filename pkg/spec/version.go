package spec

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"

	"github.com/batchagent/batchagent/pkg/plainjson"
)

// shortHash returns 64 bits of a hash as text. It finds equal values, and is no protection against forged ones.
func shortHash(sum []byte) string { return base64.RawURLEncoding.EncodeToString(sum[:8]) }

// promptVersion returns the hash of everything in the spec that decides questions, as its author wrote it. Values of inputs have no
// part in it, also if they are the same in every input.
func (s *Spec) promptVersion() string {
	c := s.settings
	c.Sampling.MaxTokens = 0
	text, err := json.Marshal(struct {
		System, Task  string
		Schema        json.RawMessage `json:",omitempty"`
		Sampling      Sampling
		Tools         []string
		ToolSettings  map[string]ToolSetting
		KeepReasoning KeepReasoning
		Preloads      []json.RawMessage `json:",omitempty"`
		Agent         *Agent            `json:",omitempty"`
	}{s.system.text, s.task.text, c.Schema, c.Sampling, c.Tools, c.ToolSettings, c.KeepReasoning.stored(), s.writtenPreloads(), c.Agent.asked()})
	if err != nil {
		return "" // the loader has written these values before
	}
	sum := sha256.Sum256(text)
	return shortHash(sum[:])
}

// rowHash returns the hash of an input's fields, except the contents of files, which are read only if a prompt uses them. It is ""
// for an input without fields, and if the spec has IDs, which identify rows better.
func (s *Spec) rowHash(fields map[string]any) string {
	if len(fields) == 0 || s.rows.id.given {
		return ""
	}
	content := s.content()
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if name == content {
			continue
		}
		pair, err := plainjson.Marshal([]any{name, fields[name]})
		if err != nil {
			return ""
		}
		_, _ = sum.Write(append(pair, '\n'))
	}
	return shortHash(sum.Sum(nil))
}

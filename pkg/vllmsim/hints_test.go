package vllmsim

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestArgumentsComeFromTheUsersWords(t *testing.T) {
	t.Parallel()
	tests := []struct{ text, param, want string }{
		{"Review the file pkg/batch/state.go, please.", "path", "pkg/batch/state.go"},
		{"Summarise `notes.txt` and/or the rest, e.g. soon.", "filename", "notes.txt"},
		{"path: src/main.c", "file_path", "src/main.c"},
		{"<file>docs/x.md</file>", "filePath", "docs/x.md"},
		{"List the folder docs/adr.", "directory", "docs/adr"},
		{"Read https://example.com/a?b=1 and report.", "url", "https://example.com/a?b=1"},
		{"Label ticket T-1042: the printer is on fire.", "ticket_id", "T-1042"},
		{"Write to ann@example.com about it.", "email", "ann@example.com"},
		{"What is the weather in Rome?", "city", "Rome"},
		{"What is the weather in Rome?", "query", "What is the weather in Rome?"},
		{"Find every paper by Ada Lovelace.", "author", "Ada"},
		{"Read v1.2 of it", "path", ""},
	}
	for _, tt := range tests {
		t.Run(tt.param+" "+tt.text, func(t *testing.T) {
			t.Parallel()
			h := hints{text: tt.text}
			got, ok := h.argument(tt.param)
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.want != "", ok)
		})
	}
}

func TestFittingToolIsChosen(t *testing.T) {
	t.Parallel()
	s, err := New(Config{})
	require.NoError(t, err)
	tools, apiErr := s.tools([]byte(`[
		{"type":"function","function":{"name":"http_get","parameters":{"type":"object","properties":{"url":{"type":"string"}},"required":["url"]}}},
		{"type":"function","function":{"name":"read_file","parameters":{"type":"object","properties":{"path":{"type":"string"}},"required":["path"]}}},
		{"type":"function","function":{"name":"broken","parameters":{"type":"nonsense"}}}]`))
	require.Nil(t, apiErr)
	assert.Equal(t, "read_file", tools.choose(&hints{text: "Review main.go."}).name)
	assert.Equal(t, "http_get", tools.choose(&hints{text: "Fetch https://example.com/."}).name)
	assert.Equal(t, "{}", tools.list[2].arguments(&hints{}, 1))
	assert.Contains(t, tools.list[1].arguments(&hints{text: "Nothing here."}, 1), "simulated: Nothing here.")
}

func TestSchemaIsFoundInThePrompt(t *testing.T) {
	t.Parallel()
	schema := `{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}`
	tests := []struct {
		name     string
		messages []message
		found    bool
	}{
		{"system", []message{{Role: "system", Content: content("Answer as {this}:\n```json\n" + schema + "\n```")}}, true},
		{"user", []message{{Role: "user", Content: content("Like this: " + schema)}}, true},
		{"after an example", []message{{Role: "system", Content: content(`Not {"type":"bug"} but ` + schema)}}, true},
		{"wrapped", []message{{Role: "system", Content: content(`{"schema":` + schema + `}`)}}, true},
		{"array", []message{{Role: "system", Content: `{"type":"array","items":{"type":"string"}}`}}, true},
		{"example only", []message{{Role: "system", Content: `{"type":"bug"}`}}, false},
		{"cut", []message{{Role: "system", Content: content(schema[:len(schema)-3])}}, false},
		{"tool result", []message{{Role: "tool", Content: content(schema)}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := newSchemaCache()
			require.NoError(t, err)
			for range 2 {
				assert.Equal(t, tt.found, c.inMessages(tt.messages) != nil)
			}
		})
	}
}

func FuzzRequestBody(f *testing.F) {
	f.Add([]byte(chatBody(user("Review main.go."), readFile)))
	f.Add([]byte(`{"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}],"stop":["a"],"max_tokens":2}`))
	f.Add([]byte(`{"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"x","arguments":{"a":1}}}]}]}`))
	s, err := New(Config{})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, body []byte) {
		req := &chatRequest{}
		if decode(body, req) != nil {
			return
		}
		p, apiErr := s.prepare(req)
		if apiErr != nil {
			assert.GreaterOrEqual(t, apiErr.status, 400)
			return
		}
		a := s.answer(p, faultPlan{})
		assert.NotEmpty(t, a.pieces)
		assert.LessOrEqual(t, len(a.pieces), p.maxOutput)
	})
}

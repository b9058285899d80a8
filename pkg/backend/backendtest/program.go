package backendtest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
)

// testPieces checks that the observed pieces are the beginning of the answer, and that FirstToken comes before them.
func testPieces(t *testing.T, target Target) {
	t.Helper()
	var text, reasoning strings.Builder
	begun := false
	piece := func(into *strings.Builder) func(string) {
		return func(s string) {
			assert.True(t, begun, "FirstToken comes first")
			assert.NotEmpty(t, s)
			into.WriteString(s)
		}
	}
	resp, err := target.Backend.Generate(t.Context(), question(target), backend.Observer{
		FirstToken: func() { begun = true }, Text: piece(&text), Reasoning: piece(&reasoning),
	})
	require.NoError(t, err)
	assert.NotEmpty(t, text.String()+reasoning.String())
	assert.True(t, strings.HasPrefix(resp.Message.Content, text.String()), "%q is no beginning of %q", text.String(), resp.Message.Content)
	assert.True(t, strings.HasPrefix(resp.Message.ReasoningText(), reasoning.String()))
}

// testTextParts sends a question in two parts.
func testTextParts(t *testing.T, target Target) {
	t.Helper()
	r := question(target)
	r.Messages[1].Parts = []backend.Part{{Text: "What is the weather in "}, {Text: "Rome?"}}
	r.Messages[1].Content = ""
	resp, err := target.Backend.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	assert.NotEmpty(t, resp.Message.Content+resp.Message.ReasoningText())
}

// pixel is an image of one pixel.
const pixel = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

// testImage sends an image beside a text.
func testImage(t *testing.T, target Target) {
	t.Helper()
	r := question(target)
	r.Messages[1].Parts = []backend.Part{{Text: "What is the weather here?"}, {Image: pixel}}
	r.Messages[1].Content = ""
	resp, err := target.Backend.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	assert.NotEmpty(t, resp.Message.Content+resp.Message.ReasoningText())
}

// testNamedTool forces a call of the second tool.
func testNamedTool(t *testing.T, target Target) {
	t.Helper()
	r := toolRequest(target)
	other := weather
	other.Name = "get_forecast"
	r.Tools = append(r.Tools, other)
	r.ToolChoice, r.MustCall, r.Sampling.ExtraBody = backend.ToolChoiceRequired, other.Name, nil
	resp, reported := callTool(t, target, r)
	assert.Equal(t, resp.Message.ToolCalls, reported)
	for _, c := range resp.Message.ToolCalls {
		assert.Equal(t, other.Name, c.Name)
	}
}

// testSchemaBesideTools checks that a schema is sent on a call that may call tools only if the request says so.
func testSchemaBesideTools(t *testing.T, target Target) {
	t.Helper()
	r := toolRequest(target)
	r.Schema = &backend.Schema{Name: "answer", JSON: []byte(
		`{"type":"object","properties":{"ok":{"type":"boolean"}},"required":["ok"],"additionalProperties":false}`)}
	require.False(t, r.SendsSchema())
	r.Schema.BesideTools = true
	require.True(t, r.SendsSchema())
	_, err := target.Backend.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
}

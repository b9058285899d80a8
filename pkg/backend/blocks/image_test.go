package blocks

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
)

func TestImageOf(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]Image{
		"https://x.test/a.png":          {URL: "https://x.test/a.png"},
		"data:image/png;base64,AAAA":    {Format: "png", Base64: "AAAA"},
		"data:image/jpg;base64,AAAA":    {Format: "jpeg", Base64: "AAAA"},
		"data:image/WEBP;a=b;base64,AA": {Format: "webp", Base64: "AA"},
	} {
		got, err := ImageOf(&backend.Part{Image: url})
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	for _, url := range []string{"data:", "data:image/png,AAAA", "data:image/tiff;base64,AAAA", "data:text/plain;base64,AAAA"} {
		_, err := ImageOf(&backend.Part{Image: url})
		assert.ErrorContains(t, err, "an image must", url)
	}
	_, err := ImageOf(&backend.Part{Other: json.RawMessage(`{"type":"input_audio"}`)})
	assert.ErrorContains(t, err, "only texts and images")
}

func TestPartsBecomeBlocks(t *testing.T) {
	t.Parallel()
	image := backend.Part{Image: "https://x.test/a.png"}
	system, entries := Conversation(backend.ProtocolAnthropic, []backend.Message{
		{Role: backend.RoleSystem, Parts: []backend.Part{{Text: "a"}, {Text: "b"}}},
		{Role: backend.RoleUser, Parts: []backend.Part{{Text: "look"}, {Text: " "}, image}},
		{Role: backend.RoleAssistant, ToolCalls: []backend.ToolCall{{ID: "1", Name: "f"}, {ID: "2", Name: "f"}}},
		{Role: backend.RoleTool, ToolCallID: "1", Parts: []backend.Part{{Text: "see"}, image}},
		{Role: backend.RoleTool, ToolCallID: "2", Parts: []backend.Part{{Text: " "}}},
	})
	assert.Equal(t, "ab", system)
	require.Len(t, entries, 3)
	assert.Equal(t, []Block{{Text: "look"}, {Part: &image}}, entries[0].Blocks)
	assert.Equal(t, []Block{{Text: "see", Result: "1", Parts: []backend.Part{{Text: "see"}, image}}, {Text: " ", Result: "2"}}, entries[2].Blocks)
}

// TestBlocksAreReported checks the order of the reports of a turn with reasoning in blocks.
func TestBlocksAreReported(t *testing.T) {
	t.Parallel()
	var log []string
	turn := NewTurn(backend.ProtocolAnthropic, backend.Observer{
		FirstToken: func() { log = append(log, "first") },
		Text:       func(piece string) { log = append(log, "text "+piece) },
		Reasoning:  func(piece string) { log = append(log, "reasoning "+piece) },
		ReasoningBlock: func(p backend.Protocol, b backend.ReasoningBlock) {
			log = append(log, "block "+string(p)+" "+b.Signature+b.Redacted)
		},
	})
	for _, err := range []error{
		turn.Reasoning(0, "a"), turn.Reasoning(0, "b"), turn.Sign(0, "sig"), turn.Reasoning(1, ""), turn.Redact(2, "data"), turn.Text(""), turn.Text("t"), turn.Reasoning(4, "c"),
	} {
		require.NoError(t, err)
	}
	turn.EndBlock(4)
	turn.EndBlock(4)
	turn.End(backend.FinishStop, "m", backend.Usage{})
	assert.Equal(t, []string{"first", "reasoning a", "reasoning b", "block anthropic sig", "block anthropic data", "text t", "reasoning c", "block anthropic "}, log)
}

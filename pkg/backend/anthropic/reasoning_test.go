package anthropic

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/backendtest"
)

func TestReasoningIsSentBack(t *testing.T) {
	backendtest.RunReasoning(t, func(t *testing.T) backendtest.Thinker {
		b, f := openFake(t)
		f.thinks = true
		return backendtest.Thinker{
			Backend: b, Model: fakeModel, Protocol: backend.ProtocolAnthropic, Text: "I need the weather. Rome it is.",
			Marks: []string{
				`{"signature":"sig(I need the weather.)","thinking":"I need the weather.","type":"thinking"},{"data":"encrypted==","type":"redacted_thinking"}`,
				`{"signature":"sig( Rome it is.)","thinking":" Rome it is.","type":"thinking"}`,
			},
			Sent: f.sent, Refuse: func() { f.noThinking = true },
		}
	})
}

func thinkOnce(t *testing.T, b *Backend) *backend.Request {
	t.Helper()
	r := ask()
	r.Tools = []backend.Tool{weather}
	resp, err := b.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	r.Messages = append(r.Messages, resp.Message)
	for _, c := range resp.Message.ToolCalls {
		r.Messages = append(r.Messages, backend.Message{Role: backend.RoleTool, ToolCallID: c.ID, Content: "sunny"})
	}
	return r
}

// The API refuses reasoning at another place.
func TestReasoningKeepsItsPlace(t *testing.T) {
	b, f := openFake(t)
	f.thinks = true
	r := thinkOnce(t, b)
	_, err := b.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	var kinds []string
	for _, block := range gjson.Get(f.sent()[1], "messages.1.content").Array() {
		kinds = append(kinds, block.Get("type").String())
	}
	assert.Equal(t, []string{"thinking", "redacted_thinking", "text", "thinking", "tool_use", "tool_use"}, kinds)
}

// A signature may be refused because the model behind a gateway changed. Other jobs keep their reasoning.
func TestRefusedSignatureCostsOneJobItsReasoning(t *testing.T) {
	b, f := openFake(t)
	f.thinks = true
	r := thinkOnce(t, b)
	good, err := json.Marshal(r.Messages)
	require.NoError(t, err)
	r.Messages[1].Reasoning.Blocks[0].Signature = "sig(of another model)"
	_, err = b.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	require.Len(t, f.sent(), 3)
	assert.NotContains(t, f.sent()[2], "I need the weather.")

	require.NoError(t, json.Unmarshal(good, &r.Messages))
	_, err = b.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	require.Len(t, f.sent(), 4)
	assert.Contains(t, f.sent()[3], "I need the weather.")
}

// After an error about missing reasoning, the call is not repeated without reasoning.
func TestMissingReasoningIsNotARefusal(t *testing.T) {
	for message, want := range map[string]bool{
		"messages.1.content.0: Input tag 'thinking' found using 'type' does not match any of the expected tags":                                                                                 true,
		"messages.1.content.0: Invalid `signature` in `thinking` block":                                                                                                                         true,
		"messages.1.content.0: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified.":                                                                    true,
		"messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`. When `thinking` is enabled, a final `assistant` message must start with a thinking block": false,
		"`max_tokens` must be greater than `thinking.budget_tokens`":                                                                                                                            false,
		"messages: roles must alternate": false,
	} {
		assert.Equal(t, want, refusesReasoning(&backend.Error{Class: backend.InvalidRequest, Status: 400, Message: message}), message)
	}
}

package backendtest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/batchagent/batchagent/pkg/backend"
)

// Thinker is an adapter on a server. Its model reasons, calls a tool, and answers after the tool's result.
type Thinker struct {
	Backend  backend.Backend
	Model    string
	Protocol backend.Protocol
	Text     string // the reasoning before the call
	// Marks are texts in the second request if and only if the reasoning is sent back.
	Marks []string
	// Sent returns the bodies of all model calls so far.
	Sent func() []string
	// Refuse makes the server refuse every conversation that contains reasoning.
	Refuse func()
}

// foreignSignature is in reasoning from another service.
const foreignSignature = "SIGNATURE-OF-ANOTHER-SERVICE"

// RunReasoning tests that an adapter keeps reasoning and sends it back unchanged, but never to a server of another
// protocol. factory is called once per test. The suite closes the backends.
func RunReasoning(t *testing.T, factory func(t *testing.T) Thinker) {
	t.Helper()
	cases := []struct {
		name string
		test func(*testing.T, Thinker)
	}{
		{"ReasoningIsPartOfTheMessage", testReasoningKept},
		{"ReasoningIsSentBack", testReasoningSent},
		{"JournalledReasoningGivesTheSameBytes", testReasoningJournalled},
		{"NoReasoningSendsNone", testReasoningLeftOut},
		{"ForeignReasoningIsNotSent", testReasoningForeign},
		{"RefusedReasoningIsLeftOutFromThenOn", testReasoningRefused},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			thinker := factory(t)
			defer thinker.Backend.Close()
			c.test(t, thinker)
		})
	}
}

// think runs the first turn.
func (k *Thinker) think(t *testing.T) *backend.Response {
	t.Helper()
	var pieces strings.Builder
	var blocks []backend.ReasoningBlock
	resp, err := k.Backend.Generate(t.Context(), k.request(), backend.Observer{
		Reasoning: func(piece string) { pieces.WriteString(piece) },
		ReasoningBlock: func(p backend.Protocol, b backend.ReasoningBlock) {
			assert.Equal(t, k.Protocol, p)
			blocks = append(blocks, b)
		},
	})
	require.NoError(t, err)
	require.Equal(t, backend.FinishToolCalls, resp.Finish)
	assert.True(t, strings.HasPrefix(resp.Message.ReasoningText(), pieces.String()), pieces.String())
	if r := resp.Message.Reasoning; r != nil {
		assert.Equal(t, r.Blocks, blocks)
	}
	return resp
}

// answer runs the second turn and returns the messages of its last request, as sent.
func (k *Thinker) answer(t *testing.T, assistant backend.Message) string {
	t.Helper()
	r := k.request()
	r.Messages = append(r.Messages, assistant)
	for _, c := range assistant.ToolCalls {
		r.Messages = append(r.Messages, backend.Message{Role: backend.RoleTool, ToolCallID: c.ID, Content: "sunny, 21 degrees"})
	}
	resp, err := k.Backend.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	assert.NotEmpty(t, resp.Message.Content)
	sent := k.Sent()
	return gjson.Get(sent[len(sent)-1], "messages").Raw
}

func (k *Thinker) request() *backend.Request {
	return &backend.Request{ID: "suite/job-0#1", Model: k.Model, Tools: []backend.Tool{weather},
		Messages: []backend.Message{{Role: backend.RoleSystem, Content: "Be brief."}, {Role: backend.RoleUser, Content: "What is the weather in Rome?"}}}
}

func testReasoningKept(t *testing.T, k Thinker) {
	t.Helper()
	resp := k.think(t)
	require.NotNil(t, resp.Message.Reasoning)
	assert.Equal(t, k.Text, resp.Message.Reasoning.Text)
	assert.Equal(t, k.Protocol, resp.Message.Reasoning.Protocol)
	assert.NotContains(t, resp.Message.Content, k.Text)
}

func testReasoningSent(t *testing.T, k Thinker) {
	t.Helper()
	sent := k.answer(t, k.think(t).Message)
	for _, mark := range k.Marks {
		assert.Contains(t, sent, mark)
	}
	assert.NotContains(t, sent, `"protocol"`, "batchagent's own fields are not sent")
}

func testReasoningJournalled(t *testing.T, k Thinker) {
	t.Helper()
	message := k.think(t).Message
	sent := k.answer(t, message)
	for range 2 { // every worker that takes over the job reads and writes the journal
		data, err := json.Marshal(message)
		require.NoError(t, err)
		var read backend.Message
		require.NoError(t, json.Unmarshal(data, &read))
		assert.Equal(t, sent, k.answer(t, read))
		message = read
	}
}

func testReasoningLeftOut(t *testing.T, k Thinker) {
	t.Helper()
	message := k.think(t).Message
	message.Reasoning = nil
	sent := k.answer(t, message)
	for _, mark := range k.Marks {
		assert.NotContains(t, sent, mark)
	}
}

func testReasoningForeign(t *testing.T, k Thinker) {
	t.Helper()
	message := k.think(t).Message
	for _, p := range []backend.Protocol{backend.ProtocolChat, backend.ProtocolAnthropic, backend.ProtocolBedrock, "another", ""} {
		if p == k.Protocol {
			continue
		}
		message.Reasoning = &backend.Reasoning{
			Text: "foreign thought", Protocol: p, Fields: []string{"reasoning"},
			Extra:  map[string]json.RawMessage{"reasoning_details": json.RawMessage(`["` + foreignSignature + `"]`)},
			Blocks: []backend.ReasoningBlock{{Bytes: len("foreign thought"), Signature: foreignSignature}, {Redacted: foreignSignature}},
		}
		sent := k.answer(t, message)
		assert.NotContains(t, sent, foreignSignature)
		assert.NotContains(t, sent, "foreign thought")
	}
}

func testReasoningRefused(t *testing.T, k Thinker) {
	t.Helper()
	message := k.think(t).Message
	before := len(k.Sent())
	k.Refuse()
	sent := k.answer(t, message)
	for _, mark := range k.Marks {
		assert.NotContains(t, sent, mark)
	}
	after := len(k.Sent())
	assert.Greater(t, after, before+1, "the server must refuse the reasoning once")
	k.answer(t, message)
	assert.Len(t, k.Sent(), after+1, "refused reasoning is not sent again")
	assert.True(t, strings.Contains(sent, "sunny"), "the rest of the conversation is sent")
}

// testReasoningTakenBack sends a real server its own reasoning within a tool loop. The test adds the call to the
// model's message, because small models do not call tools by themselves.
func testReasoningTakenBack(t *testing.T, target Target) {
	t.Helper()
	resp, err := target.Backend.Generate(t.Context(), question(target), backend.Observer{})
	require.NoError(t, err)
	require.NotEmpty(t, resp.Message.ReasoningText(), "the answer is %q", resp.Message.Content)
	t.Logf("reasoning: %+v", resp.Message.Reasoning)
	message := resp.Message
	message.ToolCalls = []backend.ToolCall{{ID: "call_1", Name: weather.Name, Arguments: `{"city":"Rome"}`}}
	r := question(target)
	r.Tools = []backend.Tool{weather}
	r.Messages = append(r.Messages, message, backend.Message{Role: backend.RoleTool, ToolCallID: "call_1", Content: "sunny, 21 degrees"})
	counted := func() (n int) {
		if counter, ok := target.Backend.(backend.TokenCounter); ok {
			n, err = counter.CountTokens(t.Context(), r)
			require.NoError(t, err)
		}
		return n
	}
	with := counted()
	next, err := target.Backend.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	assert.NotEmpty(t, next.Message.Content+next.Message.ReasoningText())
	r.Messages[len(r.Messages)-2].Reasoning = nil
	without := counted()
	t.Logf("the prompt has %d tokens with its reasoning, %d without", with, without)
	assert.GreaterOrEqual(t, with, without)
}

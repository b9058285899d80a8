package agent

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/plainjson"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// thinking adds reasoning to a scripted reply.
func thinking(text string, r reply) reply {
	r.resp.Message.Reasoning = &backend.Reasoning{Text: text, Protocol: backend.ProtocolChat, Fields: []string{"reasoning_content"}}
	return r
}

// sentReasoning returns the reasoning of a request's assistant messages.
func sentReasoning(r backend.Request) []string {
	var out []string
	for _, m := range r.Messages {
		if m.Role == backend.RoleAssistant {
			out = append(out, m.ReasoningText())
		}
	}
	return out
}

// repairedJob scripts two turns with tool calls, an invalid answer and a valid one.
func repairedJob() []reply {
	return []reply{thinking("first", asks(`{"k":1}`)), thinking("second", asks(`{"k":2}`)), thinking("third", says("not JSON")), thinking("fourth", says(`{"a":1}`))}
}

func TestReasoningFollowsSpec(t *testing.T) {
	t.Parallel()
	cases := []struct {
		keep spec.KeepReasoning
		want [][]string // by request
	}{
		{"", [][]string{nil, {"first"}, {"first", "second"}, {"first", "second", ""}}},
		{spec.KeepAlways, [][]string{nil, {"first"}, {"first", "second"}, {"first", "second", "third"}}},
		{spec.KeepNever, [][]string{nil, {""}, {"", ""}, {"", "", ""}}},
	}
	for _, c := range cases {
		s := &stage{script: repairedJob()}
		res, err := s.run(t, func(s *spec.Compiled) { s.KeepReasoning, s.Transcripts = c.keep, true })
		require.NoError(t, err)
		require.Equal(t, batch.OK, res.Status)
		for i, r := range s.requests {
			assert.Equal(t, c.want[i], sentReasoning(r), "keep_reasoning %q, request %d", c.keep, i+1)
			if i > 0 {
				earlier := s.requests[i-1].Messages
				assert.Equal(t, earlier, r.Messages[:len(earlier)], "the conversation only grows, for the server's prefix cache")
			}
		}
		var turns []Turn
		require.NoError(t, json.Unmarshal(res.Transcript, &turns))
		var kept []string
		for _, turn := range turns {
			kept = append(kept, turn.Assistant.ReasoningText())
		}
		assert.Equal(t, []string{"first", "second", "third", "fourth"}, kept, "the transcript has all reasoning")
		assert.Contains(t, string(s.journal[2]), "third", "the journal has all reasoning")
	}
}

// The journal holds everything that a second worker needs to send the same bytes, including signatures and members of
// calls.
func TestReasoningIsByteIdenticalAfterATakeover(t *testing.T) {
	script := func() []reply {
		all := repairedJob()
		signed := all[0].resp.Message.Reasoning
		signed.Extra = map[string]json.RawMessage{"reasoning_details": json.RawMessage(`[{"signature":"<&>","n":1.50}]`)}
		all[0].resp.Message.ToolCalls[0].Extra = json.RawMessage(`{"extra_content":{"google":{"thought_signature":"S<1>"}}}`)
		all[1].resp.Message.Reasoning = &backend.Reasoning{Text: "second", Protocol: backend.ProtocolAnthropic,
			Blocks: []backend.ReasoningBlock{{Bytes: 3, Signature: "a"}, {Redacted: "b"}, {Bytes: 3, Signature: "c", After: 1}}}
		return all
	}
	for _, keep := range []spec.KeepReasoning{"", spec.KeepAlways, spec.KeepNever} {
		synctest.Test(t, func(t *testing.T) {
			change := func(c *spec.Compiled) { c.KeepReasoning = keep }
			whole := &stage{script: script()}
			_, err := whole.run(t, change)
			require.NoError(t, err)
			require.Len(t, whole.journal, 3)
			for k := range whole.journal {
				later := &stage{script: script()[k+1:], journal: append([][]byte(nil), whole.journal[:k+1]...)}
				_, err := later.run(t, change)
				require.NoError(t, err)
				assert.Equal(t, whole.requests[k+1:], later.requests, "after turn %d", k+1)
			}
			call := whole.requests[1].Messages[2].ToolCalls[0]
			assert.Equal(t, `{"extra_content":{"google":{"thought_signature":"S<1>"}}}`, string(call.Extra), "under each choice")
		})
	}
}

// A worker of the previous version wrote no reasoning.
func TestJournalWithoutReasoningIsAccepted(t *testing.T) {
	t.Parallel()
	s := &stage{script: []reply{says(`{"a":1}`)}, journal: [][]byte{[]byte(`{"assistant":{"role":"assistant","content":"","tool_calls":[{"id":"c1","name":"look","arguments":"{}"}]},` +
		`"tools":[{"role":"tool","content":"seen","tool_call_id":"c1"}],"usage":{"prompt_tokens":1,"cached_tokens":0,"completion_tokens":1},"counts":{"asked":1,"executed":1},"model":"m"}`)}}
	_, err := s.run(t, nil)
	require.NoError(t, err)
	assert.Nil(t, s.requests[0].Messages[2].Reasoning)
	assert.Nil(t, s.requests[0].Messages[2].ToolCalls[0].Extra)
}

func TestInlineReasoningFollowsSpec(t *testing.T) {
	t.Parallel()
	call := func(text string) reply {
		r := asks(`{}`)
		r.resp.Message.Content = text
		return r
	}
	cases := []struct {
		keep            spec.KeepReasoning
		text            string // of a turn with a call, and of an answer that is repaired
		called, answers string
	}{
		{"", "<think>a</think>\n\nLet me look.", "<think>a</think>\n\nLet me look.", "Let me look."},
		{spec.KeepAlways, "<think>a</think>\n\nLet me look.", "<think>a</think>\n\nLet me look.", "<think>a</think>\n\nLet me look."},
		{spec.KeepNever, "\n<think>a</think>\n\nLet me look.", "Let me look.", "Let me look."},
		{spec.KeepNever, "[THINK]a[/THINK]x", "x", "x"},
		{spec.KeepNever, "<thinking>a</thinking>", "", "(no answer)"},
		{spec.KeepNever, "The tag <think>a</think> is text.", "The tag <think>a</think> is text.", "The tag <think>a</think> is text."},
		{spec.KeepNever, "<think>without an end", "<think>without an end", "<think>without an end"},
	}
	for _, c := range cases {
		s := &stage{script: []reply{call(c.text), says(c.text), says(`{"a":1}`)}}
		_, err := s.run(t, func(s *spec.Compiled) { s.KeepReasoning = c.keep })
		require.NoError(t, err)
		last := s.requests[2].Messages
		assert.Equal(t, c.called, last[2].Content, "%s: %s", c.keep, c.text)
		assert.Equal(t, c.answers, last[4].Content, "%s: %s", c.keep, c.text)
		var turn Turn
		require.NoError(t, json.Unmarshal(s.journal[1], &turn))
		assert.Equal(t, c.text, turn.Assistant.Content, "the journal keeps the original text")
	}
}

func TestReasoningInTheJournalIsBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("überlegen ", maxReasoning/5)
	signed := thinking(long, asks(`{}`))
	signed.resp.Message.Reasoning.Blocks = []backend.ReasoningBlock{{Bytes: len(long), Signature: "s"}}
	for name, first := range map[string]reply{"text": thinking(long, asks(`{}`)), "signed": signed} {
		s := &stage{script: []reply{first, says(`{"a":1}`)}}
		_, err := s.run(t, nil)
		require.NoError(t, err)
		assert.Less(t, len(s.journal[0]), maxReasoning+2000, name)
		sent := s.requests[1].Messages[2].Reasoning
		require.NotNil(t, sent)
		assert.Contains(t, sent.Text, "shortened")
		assert.NotContains(t, sent.Text, "\uFFFD")
		assert.Equal(t, name == "text", sent.For(backend.ProtocolChat) != nil, "half of a signed text is not sent")
	}
}

// Reasoning that is not sent again takes no room. The reasoning of an answer is dropped before tool results are
// shortened.
func TestReasoningCountsInTheContext(t *testing.T) {
	t.Parallel()
	thought := strings.Repeat("thought ", 500) // 4,000 bytes, 1,000 tokens
	result := strings.Repeat("result ", 100)
	turn := func(m backend.Message, repair string) Turn {
		m.Role = backend.RoleAssistant
		m.Reasoning = &backend.Reasoning{Text: thought, Protocol: backend.ProtocolChat, Fields: []string{"reasoning"}}
		t := Turn{Assistant: m, Repair: repair, Usage: batch.Usage{PromptTokens: 500, CompletionTokens: 1000}}
		for _, c := range m.ToolCalls {
			t.Tools = append(t.Tools, backend.Message{Role: backend.RoleTool, ToolCallID: c.ID, Content: result})
		}
		return t
	}
	call := backend.Message{ToolCalls: []backend.ToolCall{{ID: "c", Name: "look", Arguments: "{}"}}}
	cases := []struct {
		name    string
		keep    spec.KeepReasoning
		window  int
		turns   []Turn
		thought []bool // by assistant message
		whole   bool   // the tool result is not shortened
	}{
		{"it fits", "", 3000, []Turn{turn(call, "")}, []bool{true}, true},
		{"it counts if it is sent", "", 1800, []Turn{turn(call, "")}, []bool{true}, false},
		{"it does not if it is not", spec.KeepNever, 1800, []Turn{turn(call, "")}, []bool{false}, true},
		{"an answer's goes first", spec.KeepAlways, 1900, []Turn{turn(backend.Message{Content: "x"}, "again"), turn(call, "")}, []bool{false, true}, true},
	}
	for _, c := range cases {
		conv := newConversation("", nil, "prompt", c.window, c.keep)
		for _, t := range c.turns {
			conv.add(t)
		}
		var thoughts []bool
		for _, m := range conv.messages {
			switch m.Role {
			case backend.RoleAssistant:
				thoughts = append(thoughts, m.Reasoning != nil)
			case backend.RoleTool:
				assert.Equal(t, c.whole, m.Content == result, c.name)
			}
		}
		assert.Equal(t, c.thought, thoughts, c.name)
	}
}

// A server counts more tokens than estimated. When no tool result can be shortened further, older reasoning is dropped.
func TestRefusedLengthDropsOlderReasoning(t *testing.T) {
	t.Parallel()
	s := &stage{tool: func(context.Context, toolpool.Call) (toolpool.Result, error) {
		return toolpool.Result{Content: "ok"}, nil
	}}
	s.script = []reply{
		thinking("first", asks(`{"k":1}`)), thinking("second", asks(`{"k":2}`)),
		fails(backend.ContextTooLong), says(`{"a":1}`),
	}
	res, err := s.run(t, nil)
	require.NoError(t, err)
	assert.Equal(t, batch.OK, res.Status)
	assert.Equal(t, []string{"", "second"}, sentReasoning(s.requests[3]))
}

func TestReasoningIsTheSameAfterAnyCut(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		keep := rapid.SampledFrom([]spec.KeepReasoning{"", spec.KeepAlways, spec.KeepNever}).Draw(rt, "keep")
		window := rapid.SampledFrom([]int{0, 500, 5_000}).Draw(rt, "window")
		turns := rapid.SliceOfN(anyTurn, 1, 6).Draw(rt, "turns")
		for i := range turns {
			turns[i].Assistant.Reasoning = &backend.Reasoning{Text: rapid.String().Draw(rt, "thought"), Protocol: backend.ProtocolChat, Fields: []string{"reasoning"}}
			if rapid.Bool().Draw(rt, "answers") {
				turns[i].Assistant.ToolCalls, turns[i].Tools, turns[i].Repair = nil, nil, "again"
			}
			turns[i].Usage.CompletionTokens = int64(rapid.IntRange(0, 2_000).Draw(rt, "completion"))
		}
		build := func(n int) []backend.Message {
			c := newConversation("sys", nil, "prompt", window, keep)
			for _, turn := range turns[:n] {
				data, err := plainjson.Marshal(turn)
				require.NoError(rt, err)
				written, err := decodeTurn(data)
				require.NoError(rt, err)
				c.add(written)
			}
			return c.messages
		}
		whole := build(len(turns))
		require.Equal(rt, whole, build(len(turns)))
		for _, m := range whole {
			if m.Reasoning != nil {
				require.NotEqual(rt, spec.KeepNever, keep)
				require.True(rt, keep == spec.KeepAlways || len(m.ToolCalls) > 0)
			}
		}
	})
}

func TestTruncatedErrorHoldsCutReasoning(t *testing.T) {
	t.Parallel()
	cut := thinking("so far I", cutAt(""))
	res, err := (&stage{script: []reply{cut}}).run(t, func(c *spec.Compiled) { c.Tools = nil })
	require.NoError(t, err)
	require.NotNil(t, res.Error)
	assert.Equal(t, batch.OutputTruncated, res.Error.Type)
	assert.Equal(t, "so far I", res.Error.Raw)

	// A job with tools has no schema on its first answer. The repair turn does not get the cut reasoning.
	s := &stage{script: []reply{cut, says(`{"a":1}`)}}
	res, err = s.run(t, nil)
	require.NoError(t, err)
	assert.Equal(t, batch.OK, res.Status)
	assert.Equal(t, backend.Message{Role: backend.RoleAssistant, Content: noAnswer}, s.requests[1].Messages[2])
}

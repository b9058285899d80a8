package openaichat

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
)

// deltas returns a stream of these deltas that ends properly.
func deltas(all ...string) []byte {
	var chunks []string
	for _, d := range all {
		chunks = append(chunks, fmt.Sprintf(`{"choices":[{"index":0,"delta":%s}]}`, d))
	}
	return []byte(sse(append(chunks, finishChunk("stop"), usageChunk)...))
}

func TestReasoningIsAssembled(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		deltas []string
		want   *backend.Reasoning
	}{
		{"none", []string{`{"content":"x"}`, `{"reasoning":null,"reasoning_content":"","reasoning_details":[],"extra_content":{}}`}, nil},
		{"in pieces", []string{`{"reasoning_content":"a"}`, `{"reasoning_content":"b"}`},
			&backend.Reasoning{Text: "ab", Fields: []string{"reasoning_content"}}},
		{"twice under two names", []string{`{"reasoning":"a","reasoning_content":"a"}`, `{"reasoning":"b","reasoning_content":"b"}`},
			&backend.Reasoning{Text: "ab", Fields: []string{"reasoning_content", "reasoning"}}},
		{"two texts", []string{`{"reasoning":"a"}`, `{"thinking":"b"}`},
			&backend.Reasoning{Text: "a", Fields: []string{"reasoning"}, Extra: members{"thinking": json.RawMessage(`"b"`)}}},
		{"of unexpected types", []string{`{"reasoning":{"effort":"low"},"reasoning_content":7,"thinking":[],"reasoning_details":"x","thinking_blocks":[1]}`}, nil},
		{"details without a text", []string{`{"reasoning_details":[{"type":"reasoning.summary","summary":"a","index":0}]}`, `{"reasoning_details":[{"type":"reasoning.summary","summary":"b","index":0}]}`},
			&backend.Reasoning{Text: "ab", Extra: members{"reasoning_details": json.RawMessage(`[{"index":0,"summary":"ab","type":"reasoning.summary"}]`)}}},
		{"details in turn", []string{`{"reasoning_details":[{"type":"t","text":"a","index":0},{"type":"t","text":"1","index":1}]}`, `{"reasoning_details":[{"type":"t","text":"b","index":0},{"type":"t","text":"2","index":1}]}`},
			&backend.Reasoning{Text: "ab12", Extra: members{"reasoning_details": json.RawMessage(`[{"index":0,"text":"ab","type":"t"},{"index":1,"text":"12","type":"t"}]`)}}},
		{"one index for two kinds", []string{`{"reasoning_details":[{"type":"t","text":"a","index":0},{"type":"e","data":"D","index":0}]}`},
			&backend.Reasoning{Text: "a", Extra: members{"reasoning_details": json.RawMessage(`[{"index":0,"text":"a","type":"t"},{"data":"D","index":0,"type":"e"}]`)}}},
		{"blocks without an index", []string{`{"thinking_blocks":[{"type":"thinking","thinking":"a"}]}`, `{"thinking_blocks":[{"type":"thinking","signature":"S"}]}`, `{"thinking_blocks":[{"type":"thinking","thinking":"b"}]}`},
			&backend.Reasoning{Text: "ab", Extra: members{"thinking_blocks": json.RawMessage(`[{"signature":"S","thinking":"a","type":"thinking"},{"thinking":"b","type":"thinking"}]`)}}},
		{"a signature of the text", []string{`{"content":"x","extra_content":{"google":{"thought_signature":"S"}}}`, `{"extra_content":null}`},
			&backend.Reasoning{Extra: members{"extra_content": json.RawMessage(`{"google":{"thought_signature":"S"}}`)}}},
	}
	for _, c := range cases {
		resp, err := answering(deltas(c.deltas...)).Generate(t.Context(), ask(), backend.Observer{})
		require.NoError(t, err, c.name)
		if c.want != nil {
			c.want.Protocol = backend.ProtocolChat
		}
		assert.Equal(t, c.want, resp.Message.Reasoning, c.name)
	}
}

func TestTooManyReasoningBlocksKeepTheText(t *testing.T) {
	t.Parallel()
	var many []string
	for i := range maxThoughts + 1 {
		many = append(many, fmt.Sprintf(`{"reasoning":"x","reasoning_details":[{"type":"t","text":"x","index":%d}]}`, i))
	}
	resp, err := answering(deltas(many...)).Generate(t.Context(), ask(), backend.Observer{})
	require.NoError(t, err)
	assert.Len(t, resp.Message.ReasoningText(), maxThoughts+1)
	assert.Empty(t, resp.Message.Reasoning.Extra)
}

func TestReasoningCountsAgainstTheTurnLimit(t *testing.T) {
	t.Parallel()
	piece := strings.Repeat("x", 1<<20)
	for _, d := range []string{`{"reasoning":"%s"}`, `{"reasoning_details":[{"text":"%s","index":0}]}`, `{"reasoning_opaque":"%s"}`, `{"tool_calls":[{"index":0,"z":"%s"}]}`} {
		var all []string
		for range maxTurnBytes>>20 + 1 {
			all = append(all, fmt.Sprintf(d, piece))
		}
		_, err := answering(deltas(all...)).Generate(t.Context(), ask(), backend.Observer{})
		assert.Equal(t, backend.Degenerate, backend.ClassOf(err), "%.30s: %v", d, err)
	}
}

func TestLongMembersOfACallAreDropped(t *testing.T) {
	t.Parallel()
	call := func(n int) string {
		return fmt.Sprintf(`{"tool_calls":[{"index":0,"id":"a","type":"function","extra_content":"%s","function":{"name":"f","arguments":"{}"}}]}`, strings.Repeat("x", n))
	}
	for n, kept := range map[int]bool{1000: true, maxExtraBytes: false} {
		resp, err := answering(deltas(call(n))).Generate(t.Context(), ask(), backend.Observer{})
		require.NoError(t, err)
		assert.Equal(t, kept, resp.Message.ToolCalls[0].Extra != nil, n)
	}
}

// Reasoning of real servers is sent back in its original member.
func TestRecordedReasoningIsSentBack(t *testing.T) {
	t.Parallel()
	for name, field := range map[string]string{
		"vllm-0.32-guarded/reasoning-cut-by-length-stream":    "reasoning",
		"sglang-0.5.23/think/reasoning-then-tool-call-stream": "reasoning_content",
		"sglang-0.5.23/think/reasoning-then-answer-stream":    "reasoning_content",
		"dynamo-1.6.1/r1-reasoning-stream":                    "reasoning_content",
	} {
		resp, _ := mustReplay(t, name)
		require.NotEmpty(t, resp.Message.ReasoningText(), name)
		assert.Equal(t, []string{field}, resp.Message.Reasoning.Fields, name)
		r := ask()
		r.Messages = append(r.Messages, resp.Message)
		first, body := sent(t, r, Config{})
		assert.Equal(t, resp.Message.ReasoningText(), body["messages"].([]any)[1].(map[string]any)[field], name)

		data, err := json.Marshal(r.Messages)
		require.NoError(t, err)
		var read []backend.Message
		require.NoError(t, json.Unmarshal(data, &read))
		r.Messages = read
		again, _ := sent(t, r, Config{})
		assert.Equal(t, string(first.Content), string(again.Content), name)
	}
}

// Mistral's models send their reasoning in the content.
func TestThinkingPartsAreSentBackInTheContent(t *testing.T) {
	t.Parallel()
	r := ask()
	for _, m := range []struct{ content, want string }{
		{"Rome.", `{"role":"assistant","content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"Rome."}]}`},
		{"", `{"role":"assistant","content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]}`},
	} {
		r.Messages = []backend.Message{{Role: backend.RoleAssistant, Content: m.content,
			Reasoning: &backend.Reasoning{Text: "hm", Protocol: backend.ProtocolChat, Fields: []string{thinkingParts}}}}
		sent, err := json.Marshal(messages(r.Messages, nil)[0])
		require.NoError(t, err)
		assert.Equal(t, m.want, string(sent))
		sent, err = json.Marshal(messages(r.Messages, func(member string) bool { return member == thinkingParts })[0])
		require.NoError(t, err)
		assert.JSONEq(t, `{"role":"assistant","content":"`+m.content+`"}`, string(sent))
	}
	message := "content type 'thinking' is not supported"
	assert.Equal(t, thinkingParts, new(Client).refusedPart(r, nil, &backend.Error{Class: backend.InvalidRequest, Status: 400, Message: message, Err: Refusal{Message: message}}))
}

func TestGeneratedTokens(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name                                         string
		prompt, completion, total, reasoning, cached int64
		want                                         int64
	}{
		{"no reasoning", 100, 20, 120, 0, 0, 20},
		{"no total", 100, 20, 0, 0, 0, 20},
		{"OpenAI counts reasoning within the completion", 100, 320, 420, 300, 0, 320},
		{"the same without a total", 100, 320, 0, 300, 0, 320},
		{"xAI counts it apart", 100, 20, 420, 300, 0, 320},
		{"apart, and less than the completion", 100, 200, 450, 150, 0, 350},
		{"more reasoning than completion, and no total", 100, 20, 0, 300, 0, 320},
		{"more reasoning than completion, and a total without it", 100, 20, 120, 300, 0, 20},
		{"Gemini counts it in the total alone", 100, 20, 420, 0, -1, 320},
		{"a total with cached tokens", 100, 20, 184, 0, 64, 20},
		{"a total that is too small", 100, 20, 20, 0, 0, 20},
		{"nonsense", 100, 20, 120, -5, 0, 20},
	}
	for _, c := range cases {
		assert.Equal(t, c.want, generated(c.prompt, c.completion, c.total, c.reasoning, c.cached), c.name)
	}
	resp, err := answering([]byte(sse(`{"choices":[{"index":0,"delta":{"content":"x"}}]}`, finishChunk("stop"),
		`{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":420,"completion_tokens_details":{"reasoning_tokens":300}}}`))).
		Generate(t.Context(), ask(), backend.Observer{})
	require.NoError(t, err)
	assert.EqualValues(t, 320, resp.Usage.CompletionTokens)
}

func TestRefusedMemberIsDropped(t *testing.T) {
	t.Parallel()
	r := ask()
	r.Messages = append(r.Messages, backend.Message{Role: backend.RoleAssistant,
		Reasoning: &backend.Reasoning{Text: "hm", Protocol: backend.ProtocolChat, Fields: []string{"reasoning_content", "reasoning"}},
		ToolCalls: []backend.ToolCall{{ID: "a", Name: "f", Extra: json.RawMessage(`{"extra_content":1}`)}}})
	cases := []struct {
		message, param, code string
		status               int
		want                 string
	}{
		{"messages.1.assistant.reasoning_content: property 'messages.1.assistant.reasoning_content' is unsupported", "", "wrong_api_format", 400, "reasoning_content"},
		{"'messages.2' : for 'role:assistant' the following must be satisfied[('messages.2' : property 'reasoning' is unsupported)]", "", "", 400, "reasoning"},
		{`Invalid JSON payload received. Unknown name "extra_content" at 'messages[1]': Cannot find field.`, "", "", 400, "extra_content"},
		{"Extra inputs are not permitted", "messages.1.reasoning", "", 422, "reasoning"},
		{"bad request", "messages[1].reasoning_content", "unknown_parameter", 400, "reasoning_content"},
		{"The `reasoning_content` in the thinking mode must be passed back to the API.", "", "invalid_request_error", 400, ""},
		{"reasoning_effort is not supported", "", "", 400, ""},
		{"temperature is not supported", "", "", 400, ""},
		{"reasoning is not supported", "", "", 500, ""},
	}
	for _, c := range cases {
		err := &backend.Error{Class: backend.InvalidRequest, Status: c.status, Message: c.message, Err: Refusal{Message: c.message, Param: c.param, Code: c.code}}
		assert.Equal(t, c.want, new(Client).refusedPart(r, nil, err), c.message)
	}
}

// FuzzCallMembers checks that unknown members of any tool call survive encoding and decoding.
func FuzzCallMembers(f *testing.F) {
	for _, s := range []string{`{"index":0,"id":"a","extra_content":{"google":{"thought_signature":"S"}},"function":{"name":"f","arguments":"{}","x":1.50}}`, `{"function":7,"x":null}`, `[]`, `{"function":{"function":{}}}`, `{"function":{"x":2e78870211}}`, `{"x":{ }}`, `{"function":{"x":[ ]}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, delta []byte) {
		var e extras
		e.add(extrasOf(delta))
		written := e.json()
		again := readExtras(written)
		assert.Equal(t, string(written), string(again.json()))
		assert.LessOrEqual(t, len(written), 8*maxExtraBytes)
		call, err := callMessage(backend.ToolCall{ID: "i", Name: "n", Arguments: "{}", Extra: written}, nil).MarshalJSON()
		require.NoError(t, err)
		require.True(t, json.Valid(call))
		var sent map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(call, &sent))
		assert.Equal(t, `"i" "function"`, string(sent["id"])+" "+string(sent["type"]))
	})
}

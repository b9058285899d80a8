package backendtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/tidwall/gjson"

	"github.com/batchagent/batchagent/pkg/backend"
)

// chatThought is one form of reasoning in OpenAI's chat protocol.
type chatThought struct {
	name   string
	deltas []string // of the first turn, before its call
	text   string
	marks  []string
	only   string // the member that carries the text, if the adapter uses only one
}

func chatThoughts() []chatThought {
	return []chatThought{
		{name: "reasoning_content", text: "I need <the> weather.", only: "reasoning_content",
			deltas: []string{`{"reasoning_content":"I need <the>"}`, `{"reasoning_content":" weather.","content":null}`, `{"reasoning_content":null}`},
			marks:  []string{`"reasoning_content":"I need \u003cthe\u003e weather."`}},
		{name: "reasoning", text: "I need it.", only: "reasoning",
			deltas: []string{`{"reasoning":"I need"}`, `{"reasoning":" it."}`}, marks: []string{`"reasoning":"I need it."`}},
		{name: "both names", text: "I need it.",
			deltas: []string{`{"reasoning":"I need","reasoning_content":"I need"}`, `{"reasoning":" it.","reasoning_content":" it."}`},
			marks:  []string{`"reasoning_content":"I need it."`}},
		{name: "reasoning_details", text: "I need it.",
			deltas: []string{
				`{"reasoning":"I need","reasoning_details":[{"type":"reasoning.text","text":"I need","format":"anthropic-claude-v1","index":0}]}`,
				`{"reasoning":" it.","reasoning_details":[{"type":"reasoning.text","text":" it.","format":"anthropic-claude-v1","index":0}]}`,
				`{"reasoning_details":[{"type":"reasoning.text","text":null,"signature":"SIG==","format":"anthropic-claude-v1","index":0}]}`,
				`{"reasoning_details":[{"type":"reasoning.encrypted","data":"ENC==","index":1}]}`},
			marks: []string{`"reasoning_details":[{"format":"anthropic-claude-v1","index":0,"signature":"SIG==","text":"I need it.","type":"reasoning.text"},` +
				`{"data":"ENC==","index":1,"type":"reasoning.encrypted"}]`}},
		{name: "thinking_blocks", text: "I need it.",
			deltas: []string{
				`{"reasoning_content":"I need","thinking_blocks":[{"type":"thinking","thinking":"I need","signature":null}]}`,
				`{"reasoning_content":" it.","thinking_blocks":[{"type":"thinking","thinking":" it.","signature":""}]}`,
				`{"thinking_blocks":[{"type":"thinking","thinking":"","signature":"SIG=="}]}`,
				`{"thinking_blocks":[{"type":"redacted_thinking","data":"A"},{"type":"redacted_thinking","data":"B"}]}`},
			marks: []string{`"thinking_blocks":[{"signature":"SIG==","thinking":"I need it.","type":"thinking"},{"data":"A","type":"redacted_thinking"},{"data":"B","type":"redacted_thinking"}]`}},
		{name: "opaque", text: "I need it.",
			deltas: []string{`{"reasoning_text":"I need it."}`, `{"reasoning_opaque":"OPAQUE=="}`}, marks: []string{`"reasoning_opaque":"OPAQUE=="`}},
	}
}

// RunChatReasoning tests that an adapter of OpenAI's chat protocol sends reasoning and unknown members of tool calls
// back unchanged. field names the member that carries reasoning in requests; "" means the same member as in the
// response. open opens the adapter on a host:port.
func RunChatReasoning(t *testing.T, field string, open func(t *testing.T, addr string) backend.Backend) {
	t.Helper()
	for _, c := range chatThoughts() {
		t.Run(c.name, func(t *testing.T) {
			RunReasoning(t, func(t *testing.T) Thinker {
				t.Helper()
				s := newThinkingServer(t, append(c.deltas, plainCall)...)
				marks := c.marks
				if field != "" && c.only != "" {
					text, _ := json.Marshal(c.text) // a string always encodes
					marks = []string{fmt.Sprintf("%q:%s", field, text)}
				}
				return Thinker{Backend: open(t, s.addr), Model: OddModel, Protocol: backend.ProtocolChat, Text: c.text, Marks: marks,
					Sent: s.bodies, Refuse: func() { s.refuses.Store(true) }}
			})
		})
	}
	for _, c := range callMembers() {
		t.Run("call with "+c.name, func(t *testing.T) { c.check(t, open) })
	}
}

const plainCall = `{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"get_weather","arguments":"{\"city\":\"Rome\"}"}}]}`

// callMember is a tool call with members outside of the protocol.
type callMember struct {
	name   string
	deltas []string
	sent   string // the call as sent back
}

func callMembers() []callMember {
	const call = `{"id":"c1","type":"function","function":{"name":"get_weather","arguments":"{\"city\":\"Rome\"}"`
	return []callMember{
		{"extra_content in one delta without an index",
			[]string{`{"tool_calls":[{"id":"c1","type":"function","extra_content":{"google":{"thought_signature":"S<1>=="}},"function":{"name":"get_weather","arguments":"{\"city\":\"Rome\"}"}}]}`},
			call + `},"extra_content":{"google":{"thought_signature":"S\u003c1\u003e=="}}}`},
		{"a member of the function",
			[]string{`{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"get_weather","arguments":"{\"city\":","thought_signature":"S1"}}]}`,
				`{"tool_calls":[{"index":0,"id":null,"function":{"name":null,"arguments":"\"Rome\"}","thought_signature":null}}]}`},
			call + `,"thought_signature":"S1"}}`},
		{"members of both, the last after the arguments",
			[]string{`{"tool_calls":[{"index":0,"id":"c1","type":"function","z":1.50,"function":{"name":"get_weather","arguments":"{\"city\":\"Rome\"}","f":[1]}}]}`,
				`{"tool_calls":[{"index":0,"a":{"late":12345678901234567890},"function":{"arguments":""}}]}`},
			call + `,"f":[1]},"a":{"late":12345678901234567890},"z":1.50}`},
		{"no member beyond the protocol's", []string{plainCall}, call + `}}`},
	}
}

func (c callMember) check(t *testing.T, open func(t *testing.T, addr string) backend.Backend) {
	t.Helper()
	s := newThinkingServer(t, c.deltas...)
	k := Thinker{Backend: open(t, s.addr), Model: OddModel, Sent: s.bodies}
	defer k.Backend.Close()
	message := k.think(t).Message
	data, err := json.Marshal(message)
	if !assert.NoError(t, err) {
		return
	}
	var read backend.Message
	assert.NoError(t, json.Unmarshal(data, &read))
	for _, m := range []backend.Message{message, read} {
		assert.Equal(t, c.sent, gjson.Get(k.answer(t, m), "2.tool_calls.0").Raw)
	}
	s.refuses.Store(true)
	before := len(s.bodies())
	k.answer(t, message)
	k.answer(t, message)
	refused := len(s.bodies()) - before - 2
	assert.LessOrEqual(t, refused, 3, "each member is refused once")
}

// thinkingServer serves a model that calls a tool in the first turn and answers in the second.
type thinkingServer struct {
	addr    string
	refuses atomic.Bool // refuses members outside of the protocol

	mu   sync.Mutex
	sent []string // guarded by mu
}

func newThinkingServer(t *testing.T, deltas ...string) *thinkingServer {
	t.Helper()
	s := &thinkingServer{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"object":"list","data":[{"id":%q,"object":"model","owned_by":"odd","max_model_len":4096}]}`, OddModel)
	})
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.sent = append(s.sent, string(body))
		s.mu.Unlock()
		if member := strangeMember(string(body)); member != "" && s.refuses.Load() {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"error":{"message":"messages.2.assistant.%s: property is unsupported","type":"invalid_request_error","code":null,"param":null}}`, member)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		if gjson.GetBytes(body, "messages.#").Int() > 2 {
			_, _ = io.WriteString(w, events(says("sunny"), ends("stop"), usage))
			return
		}
		var all []string
		for _, d := range deltas {
			all = append(all, fmt.Sprintf(`{"model":%q,"choices":[{"index":0,"delta":%s}]}`, OddModel, d))
		}
		_, _ = io.WriteString(w, events(append(all, ends("tool_calls"), usage)...))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.addr = server.Listener.Addr().String()
	return s
}

func (s *thinkingServer) bodies() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.sent...)
}

// strangeMember names a member of a message that is outside of the protocol; "" without one.
func strangeMember(body string) (name string) {
	known := map[string]bool{"role": true, "content": true, "tool_calls": true, "tool_call_id": true,
		"id": true, "type": true, "function": true, "name": true, "arguments": true}
	look := func(key, _ gjson.Result) bool {
		if !known[key.String()] {
			name = key.String()
		}
		return name == ""
	}
	for _, m := range gjson.Get(body, "messages").Array() {
		m.ForEach(look)
		for _, c := range m.Get("tool_calls").Array() {
			c.ForEach(look)
			c.Get("function").ForEach(look)
		}
	}
	return name
}

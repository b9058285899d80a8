package anthropic

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"sync"
	"testing"
)

// fake is a server with the Messages API that refuses the same requests as the API.
type fake struct {
	*httptest.Server

	noSchemas  bool          // refuse output_config and strict
	thinks     bool          // reason before a call, and answer after a result
	noThinking bool          // refuse reasoning in a conversation
	unsigned   bool          // refuse every signature
	hold       chan struct{} // not nil: the stream ends when it is closed

	mu     sync.Mutex
	bodies []map[string]any // guarded by mu
	raw    []string         // guarded by mu
}

const fakeModel = "claude-fake-1"

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"data":[{"type":"model","id":%q,"max_input_tokens":200000}],"has_more":false}`, fakeModel)
	})
	mux.HandleFunc("POST /v1/messages", f.messages)
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) requests() []map[string]any {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bodies
}

func (f *fake) sent() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.raw)
}

func (f *fake) messages(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	raw, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(raw, &body) != nil {
		refuse(w, 400, "invalid_request_error", "the body is not JSON")
		return
	}
	f.mu.Lock()
	f.bodies = append(f.bodies, body)
	f.raw = append(f.raw, string(raw))
	f.mu.Unlock()
	if r.Header.Get("Anthropic-Version") == "" {
		refuse(w, 400, "invalid_request_error", "anthropic-version: header is required")
		return
	}
	if body["model"] != fakeModel {
		refuse(w, 404, "not_found_error", fmt.Sprintf("model: %v", body["model"]))
		return
	}
	if complaint := f.check(body); complaint != "" {
		refuse(w, 400, "invalid_request_error", complaint)
		return
	}
	f.answer(w, r, body)
}

func refuse(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("Request-Id", "req_1")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"type": "error", "error": map[string]string{"type": kind, "message": message}, "request_id": "req_1"})
}

var callID = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// check checks a request against the API's rules.
func (f *fake) check(body map[string]any) string {
	if n, _ := body["max_tokens"].(float64); n < 1 {
		return "max_tokens: Field required"
	}
	if _, ok := body["output_config"]; ok && f.noSchemas {
		return "output_config: this model does not support structured outputs"
	}
	tools, _ := body["tools"].([]any)
	for i, v := range tools {
		tool := v.(map[string]any)
		if schema, _ := tool["input_schema"].(map[string]any); schema["type"] != "object" {
			return fmt.Sprintf("tools.%d.input_schema.type: Field required", i)
		}
		if tool["strict"] == true && f.noSchemas {
			return fmt.Sprintf("tools.%d.strict: Extra inputs are not permitted", i)
		}
	}
	msgs, _ := body["messages"].([]any)
	if len(msgs) == 0 {
		return "messages: at least one message is required"
	}
	var open map[string]bool // calls of the previous message
	last := ""
	for i, v := range msgs {
		m := v.(map[string]any)
		role := m["role"].(string)
		if role == last {
			return fmt.Sprintf("messages.%d: roles must alternate", i)
		}
		last = role
		calls := map[string]bool{}
		sawOther := false
		for _, v := range m["content"].([]any) {
			b := v.(map[string]any)
			switch b["type"] {
			case "thinking", "redacted_thinking":
				if complaint := f.checkThought(i, b); complaint != "" {
					return complaint
				}
			case "text":
				sawOther = true
				if b["text"] == "" {
					return "messages: text content blocks must be non-empty"
				}
			case "image":
				sawOther = true
				if source, _ := b["source"].(map[string]any); source["data"] == "" && source["url"] == "" {
					return "messages: image.source: Field required"
				}
			case "tool_use":
				if _, ok := b["input"].(map[string]any); !ok {
					return "messages: tool_use.input: Input should be a valid dictionary"
				}
				if !callID.MatchString(b["id"].(string)) {
					return "messages: tool_use.id: String should match pattern"
				}
				calls[b["id"].(string)] = true
			case "tool_result":
				if sawOther {
					return "messages: tool_result blocks come first"
				}
				if !open[b["tool_use_id"].(string)] {
					return "messages: unexpected tool_use_id"
				}
				delete(open, b["tool_use_id"].(string))
			}
		}
		if len(open) > 0 {
			return fmt.Sprintf("messages.%d: tool_use ids were found without tool_result blocks immediately after", i)
		}
		open = calls
	}
	return ""
}

// checkThought checks a block of reasoning against the API's rules: it must be unchanged.
func (f *fake) checkThought(i int, b map[string]any) string {
	switch {
	case f.noThinking:
		return fmt.Sprintf("messages.%d.content.0: Input tag '%s' found using 'type' does not match any of the expected tags", i, b["type"])
	case f.unsigned, b["type"] == "thinking" && b["signature"] != fmt.Sprintf("sig(%s)", b["thinking"]), b["type"] == "redacted_thinking" && b["data"] != "encrypted==":
		return fmt.Sprintf("messages.%d.content.0: Invalid `signature` in `thinking` block", i)
	}
	return ""
}

// think sends reasoning around a text, like a model with interleaved thinking.
func think(send func(kind, rest string)) (blocks int) {
	send("content_block_start", `,"index":0,"content_block":{"type":"thinking","thinking":"","signature":""}`)
	send("content_block_delta", `,"index":0,"delta":{"type":"thinking_delta","thinking":"I need "}`)
	send("content_block_delta", `,"index":0,"delta":{"type":"thinking_delta","thinking":"the weather."}`)
	send("content_block_delta", `,"index":0,"delta":{"type":"signature_delta","signature":"sig(I need the weather.)"}`)
	send("content_block_stop", `,"index":0`)
	send("content_block_start", `,"index":1,"content_block":{"type":"redacted_thinking","data":"encrypted=="}`)
	send("content_block_stop", `,"index":1`)
	send("content_block_start", `,"index":2,"content_block":{"type":"text","text":"Let me look."}`)
	send("content_block_stop", `,"index":2`)
	send("content_block_start", `,"index":3,"content_block":{"type":"thinking","thinking":" Rome it is."}`)
	send("content_block_delta", `,"index":3,"delta":{"type":"signature_delta","signature":"sig( Rome it is.)"}`)
	send("content_block_stop", `,"index":3`)
	return 4
}

func (f *fake) answer(w http.ResponseWriter, r *http.Request, body map[string]any) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Anthropic-Ratelimit-Requests-Limit", "50")
	w.Header().Set("Anthropic-Ratelimit-Requests-Remaining", "10")
	send := func(kind string, rest string) {
		fmt.Fprintf(w, "event: %s\ndata: {\"type\":%q%s}\n\n", kind, kind, rest)
		w.(http.Flusher).Flush()
	}
	send("message_start", fmt.Sprintf(`,"message":{"id":"msg_1","type":"message","role":"assistant","content":[],"model":%q,"stop_reason":null,"usage":{"input_tokens":7,"cache_creation_input_tokens":5,"cache_read_input_tokens":30,"output_tokens":1}}`, fakeModel))
	send("ping", "")
	stop, out := "end_turn", 0
	limit := int(body["max_tokens"].(float64))
	choice, _ := body["tool_choice"].(map[string]any)
	tools, _ := body["tools"].([]any)
	messages, _ := body["messages"].([]any)
	switch {
	case len(tools) > 0 && choice["type"] != "none" && !(f.thinks && len(messages) > 1):
		stop = "tool_use"
		name := tools[0].(map[string]any)["name"]
		if choice["type"] == "tool" {
			name = choice["name"]
		}
		first := 0
		if f.thinks {
			first = think(send)
		}
		for i, city := range []string{"Rome", "Oslo"} {
			i += first
			send("content_block_start", fmt.Sprintf(`,"index":%d,"content_block":{"type":"tool_use","id":"toolu_%d","name":%q,"input":{}}`, i, i, name))
			for _, piece := range []string{``, `{\"city\": \"`, city, `\"}`} {
				send("content_block_delta", fmt.Sprintf(`,"index":%d,"delta":{"type":"input_json_delta","partial_json":"%s"}`, i, piece))
			}
			send("content_block_stop", fmt.Sprintf(`,"index":%d`, i))
			if f.hold != nil {
				<-f.hold
			}
		}
		out = 20
	default:
		send("content_block_start", `,"index":0,"content_block":{"type":"text","text":""}`)
		words := []string{"It ", "is ", "sunny ", "in ", "Rome."}
		if body["output_config"] != nil {
			words = []string{`{\"ok\":`, `true}`}
		}
		if limit == 1000 { // a long answer, to be cancelled
			words = make([]string, limit)
			for i := range words {
				words[i] = "on "
			}
		}
		for _, word := range words {
			if out == limit {
				stop = "max_tokens"
				break
			}
			out++
			send("content_block_delta", fmt.Sprintf(`,"index":0,"delta":{"type":"text_delta","text":"%s"}`, word))
			if r.Context().Err() != nil {
				return
			}
		}
		send("content_block_stop", `,"index":0`)
	}
	send("message_delta", fmt.Sprintf(`,"delta":{"stop_reason":%q,"stop_sequence":null},"usage":{"output_tokens":%d}`, stop, out))
	send("message_stop", "")
}

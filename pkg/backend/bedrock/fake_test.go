package bedrock

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream/eventstreamapi"
)

const fakeModel = "us.anthropic.claude-fake-1:0"

// fake is a server with Converse and ConverseStream, in AWS' stream encoding. It refuses the same requests as the service.
type fake struct {
	*httptest.Server

	noStreams, noCache, noSchemas bool
	thinks                        bool          // reason before a call
	noReasoning                   bool          // refuse reasoning in a conversation
	script                        [][2]string   // not nil: the events of every stream, as type and payload
	hold                          chan struct{} // not nil: a stream continues after its first tool call when hold is closed

	mu    sync.Mutex
	asked []asked // guarded by mu
}

type asked struct {
	path string
	body map[string]any
	raw  string
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /model/{model}/{op}", f.converse)
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) requests() []asked {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-Errortype", code)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
}

func (f *fake) converse(w http.ResponseWriter, r *http.Request) {
	var raw bytes.Buffer
	var body map[string]any
	if _, err := raw.ReadFrom(r.Body); err != nil || json.Unmarshal(raw.Bytes(), &body) != nil {
		refuse(w, 400, "SerializationException", "")
		return
	}
	f.mu.Lock()
	f.asked = append(f.asked, asked{r.PathValue("op"), body, raw.String()})
	f.mu.Unlock()
	if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKIDTEST/") {
		refuse(w, 403, "MissingAuthenticationTokenException", "Missing Authentication Token")
		return
	}
	streamed := r.PathValue("op") == "converse-stream"
	switch {
	case r.PathValue("model") != fakeModel:
		refuse(w, 400, "ValidationException", "The provided model identifier is invalid.")
	case streamed && f.noStreams:
		refuse(w, 400, "ValidationException", "This model doesn't support the ConverseStream operation.")
	case f.noCache && strings.Contains(raw.String(), "cachePoint"):
		refuse(w, 400, "ValidationException", "You invoked an unsupported model or your request did not allow prompt caching.")
	case f.noReasoning && strings.Contains(raw.String(), "reasoningContent"):
		refuse(w, 400, "ValidationException", "This model doesn't support the reasoningContent field in messages.")
	case f.noSchemas && (body["outputConfig"] != nil || strings.Contains(raw.String(), `"strict":true`)):
		refuse(w, 400, "ValidationException", "This model doesn't support the outputConfig field.")
	default:
		if complaint := check(body); complaint != "" {
			refuse(w, 400, "ValidationException", complaint)
			return
		}
		f.answer(w, r, body, streamed)
	}
}

// check checks a request against the service's rules.
func check(body map[string]any) string {
	last, usesTools := "", false
	var open map[string]bool
	for i, v := range body["messages"].([]any) {
		m := v.(map[string]any)
		if m["role"] == last {
			return "A conversation must alternate between user and assistant roles."
		}
		last = m["role"].(string)
		calls := map[string]bool{}
		for _, v := range m["content"].([]any) {
			b := v.(map[string]any)
			if text, ok := b["text"]; ok && text == "" {
				return "The text field in the ContentBlock object is blank."
			}
			if use, ok := b["toolUse"].(map[string]any); ok {
				usesTools = true
				calls[use["toolUseId"].(string)] = true
				if _, ok := use["input"].(map[string]any); !ok {
					return "toolUse.input is not an object"
				}
			}
			if result, ok := b["toolResult"].(map[string]any); ok {
				if !open[result["toolUseId"].(string)] {
					return "unexpected toolUseId"
				}
				delete(open, result["toolUseId"].(string))
			}
		}
		if len(open) > 0 {
			return fmt.Sprintf("Expected toolResult blocks at messages.%d.content", i)
		}
		open = calls
	}
	if usesTools && body["toolConfig"] == nil {
		return "The toolConfig field must be defined when using toolUse and toolResult content blocks."
	}
	return ""
}

func (f *fake) answer(w http.ResponseWriter, r *http.Request, body map[string]any, streamed bool) {
	if !streamed {
		w.Header().Set("Content-Type", "application/json")
		content := `[{"text":"It is sunny."}]`
		stop := "end_turn"
		if body["toolConfig"] != nil && !bytes.Contains(mustJSON(body["messages"]), []byte("toolResult")) {
			content, stop = `[{"reasoningContent":{"reasoningText":{"text":"hm","signature":"sig(hm)"}}},{"reasoningContent":{"redactedContent":"AP8B"}},{"toolUse":{"toolUseId":"t1","name":"get_weather","input":{"city":"Rome","n":12345678901234567890}}}]`, "tool_use"
		}
		fmt.Fprintf(w, `{"output":{"message":{"role":"assistant","content":%s}},"stopReason":%q,"usage":{"inputTokens":7,"outputTokens":4,"totalTokens":11},"metrics":{"latencyMs":1}}`, content, stop)
		return
	}
	w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
	send := func(kind, payload string) { sendEvent(w, kind, payload) }
	if f.script != nil {
		for _, e := range f.script {
			send(e[0], e[1])
		}
		return
	}
	send("messageStart", `{"role":"assistant"}`)
	limit := 1 << 20
	if c, _ := body["inferenceConfig"].(map[string]any); c["maxTokens"] != nil {
		limit = int(c["maxTokens"].(float64))
	}
	stop, out := "end_turn", 0
	raw, _ := json.Marshal(body["messages"])
	if body["toolConfig"] != nil && !bytes.Contains(raw, []byte("toolResult")) {
		stop, out = "tool_use", 20
		first := 0
		if f.thinks {
			first = think(send)
		}
		name := "get_weather"
		if choice, ok := body["toolConfig"].(map[string]any)["toolChoice"].(map[string]any); ok && choice["tool"] != nil {
			name = choice["tool"].(map[string]any)["name"].(string)
		}
		for i, city := range []string{"Rome", "Oslo"} {
			i += first
			send("contentBlockStart", fmt.Sprintf(`{"contentBlockIndex":%d,"start":{"toolUse":{"toolUseId":"t%d","name":%q}}}`, i, i, name))
			for _, piece := range []string{``, `{\"city\": \"`, city, `\"}`} {
				send("contentBlockDelta", fmt.Sprintf(`{"contentBlockIndex":%d,"delta":{"toolUse":{"input":"%s"}}}`, i, piece))
			}
			send("contentBlockStop", fmt.Sprintf(`{"contentBlockIndex":%d}`, i))
			if f.hold != nil {
				<-f.hold
			}
		}
	} else {
		words := []string{"It ", "is ", "sunny."}
		if body["outputConfig"] != nil {
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
			send("contentBlockDelta", fmt.Sprintf(`{"contentBlockIndex":0,"delta":{"text":"%s"}}`, word))
			if r.Context().Err() != nil {
				return
			}
		}
		send("contentBlockStop", `{"contentBlockIndex":0}`)
	}
	send("messageStop", fmt.Sprintf(`{"stopReason":%q}`, stop))
	send("metadata", fmt.Sprintf(`{"usage":{"inputTokens":7,"outputTokens":%d,"totalTokens":1,"cacheReadInputTokens":30,"cacheWriteInputTokens":5},"metrics":{"latencyMs":3}}`, out))
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// think sends reasoning around a text. Redacted content arrives in pieces of bytes, each encoded separately.
func think(send func(kind, payload string)) (blocks int) {
	send("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"I need "}}}`)
	send("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"it."}}}`)
	send("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"sig(I need it.)"}}}`)
	send("contentBlockStop", `{"contentBlockIndex":0}`)
	send("contentBlockDelta", `{"contentBlockIndex":1,"delta":{"reasoningContent":{"redactedContent":"AP8="}}}`)
	send("contentBlockDelta", `{"contentBlockIndex":1,"delta":{"reasoningContent":{"redactedContent":"AQ=="}}}`)
	send("contentBlockStop", `{"contentBlockIndex":1}`)
	send("contentBlockDelta", `{"contentBlockIndex":2,"delta":{"text":"Let me look."}}`)
	send("contentBlockStop", `{"contentBlockIndex":2}`)
	return 3
}

// sendEvent writes one event. If kind ends with Exception, it writes an exception.
func sendEvent(w http.ResponseWriter, kind, payload string) {
	var h eventstream.Headers
	if strings.HasSuffix(kind, "Exception") {
		h.Set(eventstreamapi.MessageTypeHeader, eventstream.StringValue(eventstreamapi.ExceptionMessageType))
		h.Set(eventstreamapi.ExceptionTypeHeader, eventstream.StringValue(kind))
	} else {
		h.Set(eventstreamapi.MessageTypeHeader, eventstream.StringValue(eventstreamapi.EventMessageType))
		h.Set(eventstreamapi.EventTypeHeader, eventstream.StringValue(kind))
	}
	h.Set(eventstreamapi.ContentTypeHeader, eventstream.StringValue("application/json"))
	if err := eventstream.NewEncoder().Encode(w, eventstream.Message{Headers: h, Payload: []byte(payload)}); err != nil {
		return
	}
	w.(http.Flusher).Flush()
}

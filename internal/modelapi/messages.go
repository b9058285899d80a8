package modelapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/batchagent/batchagent/pkg/backend"
)

// messages is Anthropic's Messages API.
var messages = provider{
	decode: decodeMessages, fail: writeAnthropic,
	stream: func(out *eventWriter, q *request) encoder { return newMessagesStream(out, q) },
	body: func(q *request, all []*backend.Response) any {
		stop := messagesStop(all[0])
		return messagesBody{
			ID: newID("msg_"), Type: "message", Role: "assistant", Model: q.shown, Content: messageBlocks(all[0]), StopReason: &stop,
			Usage: newMessagesUsage(all[0].Usage),
		}
	},
}

// countTokens serves the number of a prompt's tokens.
func (a *api) countTokens(w http.ResponseWriter, r *http.Request) {
	q, f := a.decoded(w, r, decodeCount)
	if f != nil {
		writeAnthropic(w, f)
		return
	}
	n, err := a.caller.CountTokens(r.Context(), q.call)
	if errors.Is(err, errors.ErrUnsupported) {
		writeAnthropic(w, notFound("this session's model server counts no tokens"))
		return
	}
	if err != nil {
		writeAnthropic(w, failureOf(err))
		return
	}
	writeJSON(w, http.StatusOK, map[string]int{"input_tokens": n})
}

type messagesBody struct {
	ID           string            `json:"id"`
	Type         string            `json:"type"`
	Role         string            `json:"role"`
	Model        string            `json:"model"`
	Content      []json.RawMessage `json:"content"`
	StopReason   *string           `json:"stop_reason"`
	StopSequence *string           `json:"stop_sequence"`
	Usage        messagesUsage     `json:"usage"`
}

type messagesUsage struct {
	InputTokens   int64 `json:"input_tokens"` // without cached tokens
	CacheCreation int64 `json:"cache_creation_input_tokens"`
	CacheRead     int64 `json:"cache_read_input_tokens"`
	OutputTokens  int64 `json:"output_tokens"`
}

func newMessagesUsage(u backend.Usage) messagesUsage {
	cached := min(max(u.CachedTokens, 0), u.PromptTokens)
	return messagesUsage{InputTokens: u.PromptTokens - cached, CacheRead: cached, OutputTokens: u.CompletionTokens}
}

// messagesStop returns why an answer ended. The contract does not report which stop sequence did.
func messagesStop(r *backend.Response) string {
	switch r.Finish {
	case backend.FinishToolCalls:
		return "tool_use"
	case backend.FinishLength:
		return "max_tokens"
	case backend.FinishRefused:
		return "refusal"
	default:
		return "end_turn"
	}
}

// messageBlocks encodes an answer: its reasoning at its original places between the text and the calls.
func messageBlocks(r *backend.Response) []json.RawMessage {
	m := &r.Message
	others := []json.RawMessage{}
	if m.Content != "" {
		others = append(others, textBlock(m.Content))
	}
	if r.Finish == backend.FinishRefused && r.Refusal != "" && r.Refusal != m.Content {
		others = append(others, textBlock(r.Refusal))
	}
	for _, c := range m.ToolCalls {
		if input, ok := inputOf(c, r.Finish); ok {
			others = append(others, toolBlock(c, input))
		}
	}
	thoughts := thoughtBlocks(m.Reasoning)
	out := make([]json.RawMessage, 0, len(others)+len(thoughts))
	behind := 0
	for _, t := range thoughts {
		for ; behind < min(t.after, len(others)); behind++ {
			out = append(out, others[behind])
		}
		out = append(out, t.json)
	}
	return append(out, others[behind:]...)
}

type placedBlock struct {
	after int
	json  json.RawMessage
}

func thoughtBlocks(r *backend.Reasoning) (out []placedBlock) {
	if r == nil {
		return nil
	}
	texts := r.Split()
	if len(texts) == 0 {
		if r.Text == "" && len(r.Extra) == 0 {
			return nil
		}
		signature := ""
		if r.Protocol != "" {
			signature = signatureOf(r.Protocol, "", r.Fields, r.Extra)
		}
		return []placedBlock{{0, thinkingBlock(r.Text, signature)}}
	}
	for i, b := range r.Blocks {
		if b.Redacted != "" {
			out = append(out, placedBlock{b.After, redactedBlock(redactedOf(r.Protocol, b.Redacted))})
		} else {
			out = append(out, placedBlock{b.After, thinkingBlock(texts[i], signatureOf(r.Protocol, b.Signature, nil, nil))})
		}
	}
	return out
}

func textBlock(text string) json.RawMessage {
	var o object
	o.text("type", "text")
	o.text("text", text)
	return o.json()
}

func thinkingBlock(text, signature string) json.RawMessage {
	var o object
	o.text("type", "thinking")
	o.text("thinking", text)
	o.text("signature", signature)
	return o.json()
}

func redactedBlock(data string) json.RawMessage {
	var o object
	o.text("type", "redacted_thinking")
	o.text("data", data)
	return o.json()
}

func toolBlock(c backend.ToolCall, input string) json.RawMessage {
	var o object
	o.text("type", "tool_use")
	o.text("id", c.ID)
	o.text("name", c.Name)
	o.raw("input", input)
	return o.json()
}

// inputOf returns a call's arguments as a JSON object. Other arguments are put into one, because the API has only objects. It returns
// false for arguments that the token limit cut.
func inputOf(c backend.ToolCall, finish backend.FinishReason) (string, bool) {
	input := bytes.TrimSpace([]byte(c.Arguments))
	switch {
	case len(input) == 0:
		return "{}", true
	case input[0] == '{' && json.Valid(input):
		return string(input), true
	case finish == backend.FinishLength:
		return "", false
	}
	var o object
	o.text("malformed_arguments", c.Arguments)
	return string(o.json()), true
}

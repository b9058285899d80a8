package modelapi

import (
	"crypto/rand"
	"encoding/json"
	"slices"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
)

// chatCompletions is OpenAI's API for chat completions.
var chatCompletions = provider{
	decode: decodeChat, fail: writeOpenAI,
	stream: func(out *eventWriter, q *request) encoder { return newChatStream(out, q) },
	body: func(q *request, all []*backend.Response) any {
		body := chatBody{chatHead: newChatHead("chat.completion", q), Usage: newChatUsage(usageOf(all))}
		for i, resp := range all {
			body.Choices = append(body.Choices, chatChoice{Index: i, Message: newChatMessage(resp), FinishReason: chatFinish(resp)})
		}
		return body
	},
}

// newID returns an ID that no other response has.
func newID(prefix string) string { return prefix + rand.Text() }

type chatHead struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	Model   string `json:"model"`
}

func newChatHead(object string, q *request) chatHead {
	return chatHead{ID: newID("chatcmpl-"), Object: object, Created: time.Now().Unix(), Model: q.shown}
}

type chatBody struct {
	chatHead

	Choices []chatChoice `json:"choices"`
	Usage   chatUsage    `json:"usage"`
}

type chatChoice struct {
	Index        int             `json:"index"`
	Message      json.RawMessage `json:"message"`
	Logprobs     *struct{}       `json:"logprobs"`
	FinishReason string          `json:"finish_reason"`
}

type chatUsage struct {
	PromptTokens     int64        `json:"prompt_tokens"`
	CompletionTokens int64        `json:"completion_tokens"`
	TotalTokens      int64        `json:"total_tokens"`
	PromptDetails    *cachedUsage `json:"prompt_tokens_details,omitempty"`
}

type cachedUsage struct {
	CachedTokens int64 `json:"cached_tokens"`
}

func newChatUsage(u backend.Usage) chatUsage {
	out := chatUsage{PromptTokens: u.PromptTokens, CompletionTokens: u.CompletionTokens, TotalTokens: u.PromptTokens + u.CompletionTokens}
	if u.CachedTokens >= 0 {
		out.PromptDetails = &cachedUsage{u.CachedTokens}
	}
	return out
}

func chatFinish(r *backend.Response) string {
	if r.Finish == backend.FinishRefused {
		if r.Refusal != "" {
			return "stop" // the message has the refusal
		}
		return "content_filter"
	}
	return string(r.Finish)
}

// newChatMessage encodes an answer. Reasoning has the members of the model server, and reasoning_content, which most clients read.
func newChatMessage(r *backend.Response) json.RawMessage {
	m := &r.Message
	var o object
	o.text("role", string(backend.RoleAssistant))
	refusal := r.Refusal
	switch {
	case r.Finish == backend.FinishRefused && refusal != "" && m.Content == refusal, m.Content == "" && len(m.ToolCalls) > 0:
		o.raw("content", "null")
	default:
		o.text("content", m.Content)
	}
	if refusal == "" {
		o.raw("refusal", "null")
	} else {
		o.text("refusal", refusal)
	}
	o.reasoning(m.Reasoning)
	if len(m.ToolCalls) > 0 {
		calls := make([]json.RawMessage, len(m.ToolCalls))
		for i, c := range m.ToolCalls {
			calls[i] = newChatCall(-1, c)
		}
		o.value("tool_calls", calls)
	}
	return o.json()
}

// newChatCall encodes a tool call with the members of the model server. A negative index is omitted.
func newChatCall(index int, c backend.ToolCall) json.RawMessage {
	var more map[string]json.RawMessage
	var inner map[string]json.RawMessage
	if len(c.Extra) > 0 {
		_ = json.Unmarshal(c.Extra, &more) // an adapter wrote it
		_ = json.Unmarshal(more["function"], &inner)
		delete(more, "function")
	}
	var call, function object
	if index >= 0 {
		call.value("index", index)
	}
	call.text("id", c.ID)
	call.text("type", "function")
	function.text("name", c.Name)
	function.text("arguments", c.Arguments)
	function.members(inner)
	call.value("function", function.json())
	call.members(more)
	return call.json()
}

// reasoning adds the members of a message's reasoning.
func (o *object) reasoning(r *backend.Reasoning) {
	if r == nil {
		return
	}
	if r.Text != "" {
		o.text("reasoning_content", r.Text)
	}
	for _, name := range r.Fields {
		if r.Text != "" && name != "reasoning_content" && slices.Contains(thoughtTexts, name) && name != thinkingParts {
			o.text(name, r.Text)
		}
	}
	o.members(r.Extra)
	if (r.Protocol == backend.ProtocolAnthropic || r.Protocol == backend.ProtocolBedrock) && len(r.Blocks) > 0 {
		if _, ok := r.Extra["thinking_blocks"]; !ok {
			o.value("thinking_blocks", thinkingBlocks(r))
		}
	}
}

// thinkingBlocks encodes signed reasoning for clients that send back the blocks of LiteLLM.
func thinkingBlocks(r *backend.Reasoning) []map[string]string {
	var out []map[string]string
	for i, text := range r.Split() {
		b := r.Blocks[i]
		b.Bytes = 0
		sealed := seal(backend.Reasoning{Protocol: r.Protocol, Blocks: []backend.ReasoningBlock{b}})
		if b.Redacted != "" {
			out = append(out, map[string]string{"type": "redacted_thinking", "data": sealed})
		} else {
			out = append(out, map[string]string{"type": "thinking", "thinking": text, "signature": sealed})
		}
	}
	return out
}

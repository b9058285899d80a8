package modelapi

import (
	"encoding/json"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
)

// responses is OpenAI's Responses API. It stores nothing: each request has the whole conversation.
var responses = provider{
	decode: decodeResponses, fail: writeOpenAI,
	stream: func(out *eventWriter, q *request) encoder { return newResponsesStream(out, q) },
	body: func(q *request, all []*backend.Response) any {
		body := newResponsesBody(q)
		body.end(all[0], outputItems(all[0], q.sealed))
		return body
	},
}

// responsesBody is a response. It does not repeat the request's tools and instructions: a request can be large.
type responsesBody struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	CreatedAt          int64             `json:"created_at"`
	Status             string            `json:"status"`
	Error              *responsesError   `json:"error"`
	Incomplete         *incomplete       `json:"incomplete_details"`
	Instructions       *string           `json:"instructions"`
	MaxOutputTokens    *int              `json:"max_output_tokens"`
	Model              string            `json:"model"`
	Output             []json.RawMessage `json:"output"`
	ParallelToolCalls  bool              `json:"parallel_tool_calls"`
	PreviousResponseID *string           `json:"previous_response_id"`
	Store              bool              `json:"store"`
	Temperature        *float64          `json:"temperature"`
	ToolChoice         any               `json:"tool_choice"`
	Tools              []struct{}        `json:"tools"`
	TopP               *float64          `json:"top_p"`
	Truncation         string            `json:"truncation"`
	Usage              *responsesUsage   `json:"usage"`
	Metadata           struct{}          `json:"metadata"`
}

type responsesError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type incomplete struct {
	Reason string `json:"reason"`
}

type responsesUsage struct {
	InputTokens   int64       `json:"input_tokens"`
	InputDetails  cachedUsage `json:"input_tokens_details"`
	OutputTokens  int64       `json:"output_tokens"`
	OutputDetails struct {
		ReasoningTokens int64 `json:"reasoning_tokens"` // not reported by all servers, so always 0
	} `json:"output_tokens_details"`
	TotalTokens int64 `json:"total_tokens"`
}

func newResponsesBody(q *request) *responsesBody {
	c := q.call
	b := &responsesBody{
		ID: newID("resp_"), Object: "response", CreatedAt: time.Now().Unix(), Status: "in_progress", Model: q.shown,
		Output: []json.RawMessage{}, ParallelToolCalls: !c.OneCall, Temperature: c.Sampling.Temperature, TopP: c.Sampling.TopP,
		ToolChoice: "auto", Tools: []struct{}{}, Truncation: "disabled",
	}
	if n := c.Sampling.MaxTokens; n > 0 {
		b.MaxOutputTokens = &n
	}
	switch {
	case c.MustCall != "":
		b.ToolChoice = map[string]string{"type": "function", "name": c.MustCall}
	case c.ToolChoice != "":
		b.ToolChoice = string(c.ToolChoice)
	}
	return b
}

// end completes the response.
func (b *responsesBody) end(r *backend.Response, output []json.RawMessage) {
	b.Status, b.Output = "completed", output
	switch {
	case r.Finish == backend.FinishLength:
		b.Status, b.Incomplete = "incomplete", &incomplete{"max_output_tokens"}
	case r.Finish == backend.FinishRefused && r.Refusal == "":
		b.Status, b.Incomplete = "incomplete", &incomplete{"content_filter"}
	}
	u := r.Usage
	b.Usage = &responsesUsage{InputTokens: u.PromptTokens, OutputTokens: u.CompletionTokens, TotalTokens: u.PromptTokens + u.CompletionTokens}
	b.Usage.InputDetails.CachedTokens = max(u.CachedTokens, 0)
}

// fail ends the response with an error.
func (b *responsesBody) fail(f *failure) {
	b.Status = "failed"
	b.Error = &responsesError{Code: f.code, Message: f.message}
	if b.Error.Code == "" {
		b.Error.Code = f.kind
	}
}

// outputItems encodes an answer: its reasoning, its text, its calls.
func outputItems(r *backend.Response, sealed bool) []json.RawMessage {
	m := &r.Message
	out := []json.RawMessage{}
	if m.Reasoning != nil {
		out = append(out, reasoningItem(newID("rs_"), m.Reasoning.Text, sealedReasoning(m.Reasoning, sealed), "completed"))
	}
	status := itemStatus(r.Finish)
	refused := r.Finish == backend.FinishRefused && r.Refusal != ""
	if refused && m.Content != "" && m.Content != r.Refusal {
		out = append(out, messageItem(newID("msg_"), status, textPart(m.Content)))
	}
	switch {
	case refused:
		out = append(out, messageItem(newID("msg_"), status, refusalPart(r.Refusal)))
	case m.Content != "" || len(m.ToolCalls) == 0:
		out = append(out, messageItem(newID("msg_"), status, textPart(m.Content)))
	}
	for _, c := range m.ToolCalls {
		out = append(out, callItem(newID("fc_"), c, c.Arguments, status))
	}
	return out
}

func itemStatus(finish backend.FinishReason) string {
	if finish == backend.FinishLength {
		return "incomplete"
	}
	return "completed"
}

// sealedReasoning returns the reasoning as encrypted_content, if the program asked for it or the model server needs more than its text;
// otherwise "".
func sealedReasoning(r *backend.Reasoning, asked bool) string {
	if r == nil || r.Protocol == "" || !asked && len(r.Blocks) == 0 && len(r.Extra) == 0 {
		return ""
	}
	return seal(*r)
}

func reasoningItem(id, text, sealed, status string) json.RawMessage {
	var o object
	o.text("id", id)
	o.text("type", "reasoning")
	o.raw("summary", "[]")
	if text == "" {
		o.raw("content", "[]")
	} else {
		o.value("content", []json.RawMessage{reasoningPart(text)})
	}
	if sealed == "" {
		o.raw("encrypted_content", "null")
	} else {
		o.text("encrypted_content", sealed)
	}
	o.text("status", status)
	return o.json()
}

func reasoningPart(text string) json.RawMessage {
	var o object
	o.text("type", "reasoning_text")
	o.text("text", text)
	return o.json()
}

func textPart(text string) json.RawMessage {
	var o object
	o.text("type", "output_text")
	o.text("text", text)
	o.raw("annotations", "[]")
	o.raw("logprobs", "[]")
	return o.json()
}

func refusalPart(text string) json.RawMessage {
	var o object
	o.text("type", "refusal")
	o.text("refusal", text)
	return o.json()
}

func messageItem(id, status string, parts ...json.RawMessage) json.RawMessage {
	var o object
	o.text("id", id)
	o.text("type", "message")
	o.text("status", status)
	o.text("role", "assistant")
	if parts == nil {
		parts = []json.RawMessage{}
	}
	o.value("content", parts)
	return o.json()
}

func callItem(id string, c backend.ToolCall, arguments, status string) json.RawMessage {
	var o object
	o.text("id", id)
	o.text("type", "function_call")
	o.text("status", status)
	o.text("call_id", c.ID)
	o.text("name", c.Name)
	o.text("arguments", arguments)
	return o.json()
}

package openaichat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
)

// maxTurnBytes bounds what one turn may say, content, reasoning and arguments together.
const maxTurnBytes = 8 << 20

// chunk is what matters of one event.
type chunk struct {
	Model   string `json:"model"`
	Choices []struct {
		Index int `json:"index"`
		Delta struct {
			Content   string      `json:"content"`
			Refusal   string      `json:"refusal"`
			ToolCalls []callDelta `json:"tool_calls"`
			thoughtDelta
		} `json:"delta"`
		FinishReason string `json:"finish_reason"`
	} `json:"choices"`
	Usage *struct {
		PromptTokens        int64 `json:"prompt_tokens"`
		CompletionTokens    int64 `json:"completion_tokens"`
		TotalTokens         int64 `json:"total_tokens"`
		PromptTokensDetails *struct {
			CachedTokens *int64 `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
		CompletionTokensDetails *struct {
			ReasoningTokens int64 `json:"reasoning_tokens"`
		} `json:"completion_tokens_details"`
	} `json:"usage"`
	Error  json.RawMessage `json:"error"`
	Object string          `json:"object"`
	// A tool_call_dispatch event.
	ChoiceIndex int        `json:"choice_index"`
	ToolCall    *callDelta `json:"tool_call"`
}

// finishLength is the finish reason of a turn that was cut.
const finishLength = "length"

// dispatchEvent is the name of an event that tells of a whole call ahead of its deltas.
const dispatchEvent = "tool_call_dispatch"

// turn puts one stream's events together. It reads nothing: it can be fed from a recording.
type turn struct {
	observer backend.Observer
	start    time.Time
	ttft     time.Duration
	model    string

	content, refusal strings.Builder
	thoughts         thoughts
	calls            callList
	finish           string
	usage            *backend.Usage
	runaway          *runaway // nil if whitespace is not watched
	size             int

	rules    rules
	dispatch bool // events may tell of whole calls

	announced []*callDelta // by events since the last chunk
}

func newTurn(o backend.Observer, watchWhitespace bool) *turn {
	t := &turn{observer: o, start: time.Now()}
	t.calls.report = o.ToolCall
	if watchWhitespace {
		t.runaway = new(runaway)
	}
	return t
}

// add takes one event. An error ends the turn.
func (t *turn) add(event []byte) error {
	var c chunk
	if err := json.Unmarshal(event, &c); err != nil {
		return &backend.Error{Class: backend.Transient, Status: http.StatusOK, Message: "an event of the stream is not a chat chunk"}
	}
	if c.Object == "error" || len(c.Error) > 0 && !bytes.Equal(c.Error, []byte("null")) {
		return t.rules.streamError(event)
	}
	if c.Model != "" {
		t.model = c.Model
	}
	if u := c.Usage; u != nil {
		t.usage = &backend.Usage{PromptTokens: u.PromptTokens, CachedTokens: -1}
		if d := u.PromptTokensDetails; d != nil && d.CachedTokens != nil {
			t.usage.CachedTokens = *d.CachedTokens
		}
		reasoning := int64(0)
		if d := u.CompletionTokensDetails; d != nil {
			reasoning = d.ReasoningTokens
		}
		t.usage.CompletionTokens = generated(u.PromptTokens, u.CompletionTokens, u.TotalTokens, reasoning, t.usage.CachedTokens)
	}
	if c.ToolCall != nil && t.dispatch && c.ChoiceIndex == 0 && isObject(c.ToolCall.Function.Arguments) {
		t.begin()
		t.announced = append(t.announced, c.ToolCall)
		t.size += callCost + len(c.ToolCall.Function.Arguments)
	}
	for i := range c.Choices {
		choice := &c.Choices[i]
		if choice.Index != 0 {
			continue
		}
		// A call that arrives with the word that the turn was cut may have been mended by the server. An event that
		// announces it is therefore believed one chunk later.
		t.calls.quiet = t.calls.quiet || choice.FinishReason == finishLength
		for _, d := range t.announced {
			t.calls.dispatched(d)
		}
		t.announced = nil
		d := &choice.Delta
		thought := t.thoughts.add(&d.thoughtDelta)
		t.size += len(d.Content) + thought + len(d.Refusal)
		if d.Content != "" || thought > 0 || len(d.ToolCalls) > 0 {
			t.begin()
		}
		t.content.WriteString(d.Content)
		t.refusal.WriteString(d.Refusal)
		for j := range d.ToolCalls {
			t.size += t.calls.add(&d.ToolCalls[j])
		}
		if choice.FinishReason != "" && t.finish != finishLength { // a cut stays one, whatever is said after it
			t.finish = choice.FinishReason
		}
		if t.runaway != nil && t.runaway.feed(d.Content) {
			return t.degenerate("the model writes whitespace without end")
		}
	}
	if t.size > maxTurnBytes {
		return t.degenerate(fmt.Sprintf("the turn is longer than %d bytes", maxTurnBytes))
	}
	return nil
}

// begin marks the first token.
func (t *turn) begin() {
	if t.ttft != 0 {
		return
	}
	t.ttft = max(time.Since(t.start), 1)
	if t.observer.FirstToken != nil {
		t.observer.FirstToken()
	}
}

// end closes the turn. err is what ended the stream: io.EOF for "[DONE]" and for a body that ended as it should.
func (t *turn) end(err error) (*backend.Response, error) {
	clean := errors.Is(err, io.EOF)
	if !clean {
		// The usage comes last: with it, the turn is whole. Without it, equal turns would be told with unequal usage.
		if t.finish == "" || t.usage == nil {
			return nil, t.cut(err)
		}
	} else if t.finish == "" {
		return nil, t.cut(nil)
	}
	reason, err := t.finishReason()
	if err != nil {
		return nil, err
	}
	resp := &backend.Response{
		Message: backend.Message{Role: backend.RoleAssistant, Content: t.content.String(), Reasoning: t.thoughts.reasoning()},
		Finish:  reason,
		Usage:   backend.Usage{CachedTokens: -1},
		Model:   t.model,
		TTFT:    t.ttft,
	}
	if reason == backend.FinishRefused && resp.Message.Content == "" {
		resp.Message.Content = t.refusal.String()
	}
	if t.usage != nil {
		resp.Usage = *t.usage
	}
	resp.Message.ToolCalls = t.calls.finish(reason == backend.FinishToolCalls)
	resp.Duration = time.Since(t.start)
	return resp, nil
}

func (t *turn) finishReason() (backend.FinishReason, error) {
	switch t.finish {
	case "stop", "tool_calls", "function_call":
		// A named tool choice ends with "stop", and a parser may announce calls that it then withholds.
		switch {
		case len(t.calls.calls) > 0:
			return backend.FinishToolCalls, nil
		case t.refusal.Len() > 0:
			return backend.FinishRefused, nil
		default:
			return backend.FinishStop, nil
		}
	case finishLength:
		return backend.FinishLength, nil
	case "content_filter":
		return backend.FinishRefused, nil
	default: // "abort", "error": the engine gave the request up
		return "", &backend.Error{Class: backend.Transient, Status: http.StatusOK,
			Message: fmt.Sprintf("the server ended the turn with %.40q", t.finish)}
	}
}

func (t *turn) cut(err error) error {
	if be, ok := errors.AsType[*backend.Error](err); ok {
		return be
	}
	what := "without a finish reason"
	if t.finish != "" {
		what = "before its usage came"
	}
	return &backend.Error{Class: backend.Transient, Status: http.StatusOK, Message: "the stream ended " + what, Err: err}
}

func (t *turn) degenerate(message string) error {
	return &backend.Error{Class: backend.Degenerate, Status: http.StatusOK, Message: message, Partial: endpoint.Partial(t.content.String())}
}

package anthropic

import (
	"context"
	"net/http"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/blocks"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
)

// reading assembles the events of one stream.
type reading struct {
	turn  *blocks.Turn
	over  bool // message_stop came
	model string
	stop  string
	in    int64
	found int64 // read from the cache; -1 if not reported
	wrote int64
	out   int64
}

func newReading(o backend.Observer) *reading {
	return &reading{turn: blocks.NewTurn(backend.ProtocolAnthropic, o), found: -1}
}

// read handles the events of an answer until its message ends.
func (t *reading) read(ctx context.Context, answer *http.Response) error {
	for e, err := range events(answer) {
		if err == nil {
			err = t.add(e)
		}
		if err == nil {
			err = ctx.Err() // buffered events may be read long after a cancel
		}
		if err != nil || t.over {
			return err
		}
	}
	return nil
}

// add handles one event. An error ends the turn. Events and blocks of unknown kinds are skipped, as the API requires.
func (t *reading) add(e *event) error {
	switch e.Type {
	case "message_start":
		t.model = e.Message.Model
		u := &e.Message.Usage
		t.in, t.out = int64(u.InputTokens), int64(u.OutputTokens)
		if u.CacheWrite != nil {
			t.wrote = int64(*u.CacheWrite)
		}
		if u.CacheRead != nil {
			t.found = int64(*u.CacheRead)
		}
	case "content_block_start":
		switch c := &e.ContentBlock; c.Type {
		case "text":
			return t.turn.Text(c.Text)
		case "thinking":
			if err := t.turn.Sign(e.Index, c.Signature); err != nil {
				return err
			}
			return t.turn.Reasoning(e.Index, c.Thinking)
		case "redacted_thinking":
			return t.turn.Redact(e.Index, c.Data)
		case "tool_use":
			return t.turn.StartCall(e.Index, c.ID, c.Name, "")
		}
	case "content_block_delta":
		switch d := &e.Delta; d.Type {
		case "text_delta":
			return t.turn.Text(d.Text)
		case "thinking_delta":
			return t.turn.Reasoning(e.Index, d.Thinking)
		case "signature_delta":
			return t.turn.Sign(e.Index, d.Signature)
		case "input_json_delta":
			return t.turn.Input(e.Index, d.PartialJSON)
		}
	case "content_block_stop":
		t.turn.EndBlock(e.Index)
	case "message_delta":
		if e.Delta.StopReason != "" {
			t.stop = e.Delta.StopReason
		}
		t.addUsage(&e.Usage)
	case "message_stop":
		t.over = true
	}
	return nil
}

// addUsage stores the totals from the end of the stream. Some servers only estimate them at the start.
func (t *reading) addUsage(u *usage) {
	if u.OutputTokens > 0 {
		t.out = int64(u.OutputTokens)
	}
	if u.InputTokens > 0 {
		t.in = int64(u.InputTokens)
	}
	if u.CacheWrite != nil {
		t.wrote = max(t.wrote, int64(*u.CacheWrite))
	}
	if u.CacheRead != nil {
		t.found = max(t.found, int64(*u.CacheRead))
	}
}

// end completes the turn. err is the error that ended the stream; nil for a body that ended properly.
func (t *reading) end(err error) (*backend.Response, error) {
	if t.stop == "" || err != nil && !t.over {
		if err != nil {
			return nil, err
		}
		return nil, &backend.Error{Class: backend.Transient, Status: http.StatusOK, Message: "the stream ended without a stop reason"}
	}
	finish, err := t.finish()
	if err != nil {
		return nil, err
	}
	// input_tokens excludes the tokens read from and written to the cache.
	u := backend.Usage{PromptTokens: t.in + max(t.found, 0) + t.wrote, CachedTokens: t.found, CompletionTokens: t.out}
	return t.turn.End(finish, t.model, u), nil
}

func (t *reading) finish() (backend.FinishReason, error) {
	switch t.stop {
	case "end_turn", "stop_sequence":
		return backend.FinishStop, nil
	case "tool_use":
		return backend.FinishToolCalls, nil
	case "max_tokens":
		return backend.FinishLength, nil
	case "refusal":
		return backend.FinishRefused, nil
	case "model_context_window_exceeded":
		return "", &backend.Error{Class: backend.ContextTooLong, Status: http.StatusOK, Message: "the answer reached the end of the model's context window"}
	case "pause_turn":
		return "", &backend.Error{Class: backend.Transient, Status: http.StatusOK, Message: "the server paused the turn"}
	default:
		return "", &backend.Error{Class: backend.Transient, Status: http.StatusOK, Message: "the server ended the turn with \"" + endpoint.OneLine(t.stop) + "\""}
	}
}

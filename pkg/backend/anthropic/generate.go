package anthropic

import (
	"context"
	"mime"
	"net/http"
	"strings"
	"time"

	sdk "github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/blocks"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
)

const (
	// trailing limits the wait for the end of a body whose message has ended, so that its connection can be reused.
	trailing = 200 * time.Millisecond
	// schemas is the ability to enforce schemas.
	schemas = "schemas"
	// reasoning is the ability to accept reasoning in a conversation.
	reasoning = "reasoning"
)

// Generate runs one model call as a stream. See [backend.Backend].
//
// If the server refuses a schema or reasoning, the call is repeated without that part. A refused call generates
// nothing. Each pass of the loop omits one more part, so the loop ends.
func (b *Backend) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	if ctx.Err() != nil {
		return nil, b.failure(ctx, ctx.Err())
	}
	model, err := b.modelOr(ctx, r.Model)
	if err != nil {
		return nil, err
	}
	thoughtless := false // for this call only
	for {
		enforce := !b.refusals.Has(model, schemas)
		call := *r
		sends := !thoughtless && !b.refusals.Has(model, reasoning) && blocks.HasReasoning(backend.ProtocolAnthropic, r.Messages)
		if !sends {
			call.Messages = blocks.WithoutReasoning(r.Messages)
		}
		resp, err := b.pieces.Answer(b.stream(ctx, &call, model, enforce, b.pieces.Observer(o)))
		be, ok := err.(*backend.Error)
		switch {
		case ok && sends && refusesReasoning(be):
			thoughtless = true
			if staleSignature(be) {
				b.log.Info("the server does not accept the signature of a job's reasoning; the call is made without reasoning", "endpoint", b.shown, "model", model, "request", r.ID, "error", be.Message)
			} else if b.refusals.Add(model, reasoning) {
				b.log.Warn("the server refuses reasoning in a conversation; later calls omit it", "endpoint", b.shown, "model", model, "error", be.Message)
			}
		case ok && enforce && refusesSchema(be, r):
			if b.refusals.Add(model, schemas) {
				b.log.Warn("the server refuses the schema; answers are checked after the call only", "endpoint", b.shown, "model", model, "error", be.Message)
			}
		default:
			return resp, err
		}
	}
}

// refusesSchema reports whether the server refused a request because of a schema to enforce. Such a call generates nothing.
func refusesSchema(e *backend.Error, r *backend.Request) bool {
	if e.Class != backend.InvalidRequest || e.Status != http.StatusBadRequest {
		return false
	}
	asked := r.Schema != nil
	for _, t := range r.Tools {
		asked = asked || t.Strict
	}
	words := strings.ToLower(e.Message)
	return asked && (strings.Contains(words, "schema") || strings.Contains(words, "output_config") || strings.Contains(words, "strict"))
}

// refusesReasoning reports whether the server refused a conversation because of its reasoning. An error about missing
// reasoning does not count.
func refusesReasoning(e *backend.Error) bool {
	if e.Class != backend.InvalidRequest || e.Status != http.StatusBadRequest && e.Status != http.StatusUnprocessableEntity {
		return false
	}
	words := strings.ToLower(e.Message)
	return (strings.Contains(words, "thinking") || strings.Contains(words, "signature")) && !strings.Contains(words, "must start with a thinking block") &&
		!strings.Contains(words, "budget_tokens") && !strings.Contains(words, "tool_choice")
}

// staleSignature reports whether the server refused this job's reasoning only, and not reasoning in general.
func staleSignature(e *backend.Error) bool {
	words := strings.ToLower(e.Message)
	return strings.Contains(words, "signature") || strings.Contains(words, "cannot be modified")
}

// stream makes one request. Its error is a *backend.Error or wraps the cause of ctx.
func (b *Backend) stream(ctx context.Context, r *backend.Request, model string, enforce bool, o backend.Observer) (*backend.Response, error) {
	p, err := params(r, model, enforce)
	if err != nil {
		return nil, b.located(&backend.Error{Class: backend.InvalidRequest, Err: err})
	}
	callCtx, cancel := blocks.Bounded(ctx, r.SilenceTimeout)
	defer cancel() // closes the connection, unless the stream has ended

	var answer *http.Response
	t := newReading(o)
	s := b.client.Messages.NewStreaming(callCtx, p, option.WithResponseInto(&answer))
	defer s.Close()
	if err := checkStream(answer); err != nil && s.Err() == nil {
		return nil, b.failure(ctx, err)
	}
	for !t.over && s.Next() {
		event := s.Current()
		if err := t.add(&event); err != nil {
			return nil, b.failure(ctx, err)
		}
		if err := ctx.Err(); err != nil { // buffered events may be read long after a cancel
			return nil, b.failure(ctx, err)
		}
	}
	err = s.Err()
	if silent := blocks.Silent(callCtx); silent != nil {
		err = silent
	}
	resp, err := t.end(err)
	if err != nil {
		return nil, b.failure(ctx, err)
	}
	if t.over {
		late := time.AfterFunc(trailing, cancel)
		for s.Next() {
		}
		late.Stop()
	}
	if answer != nil {
		resp.Headroom = headroom(answer.Header, time.Now())
	}
	return resp, nil
}

// checkStream returns an error if the media type of a successful answer cannot be a stream of events.
func checkStream(answer *http.Response) error {
	if answer == nil {
		return nil
	}
	switch kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type")); kind {
	case "text/html", "application/json":
		return &backend.Error{Class: backend.InvalidRequest, Status: answer.StatusCode,
			Message: "the answer is not a stream of events; does this server speak Anthropic's Messages API, and is the URL's path its base path?"}
	}
	return nil
}

// reading assembles one stream's events. It does no I/O, so a recording can feed it.
type reading struct {
	turn  *blocks.Turn
	over  bool // message_stop came
	model string
	stop  string
	in    int64
	read  int64 // -1 if not reported
	wrote int64
	out   int64
}

func newReading(o backend.Observer) *reading {
	return &reading{turn: blocks.NewTurn(backend.ProtocolAnthropic, o), read: -1}
}

// add handles one event. An error ends the turn. Events and blocks of unknown kinds are skipped, as the API requires.
func (t *reading) add(e *sdk.MessageStreamEventUnion) error {
	switch e.Type {
	case "message_start":
		t.model = e.Message.Model
		u := &e.Message.Usage
		t.in, t.wrote, t.out = u.InputTokens, u.CacheCreationInputTokens, u.OutputTokens
		if u.JSON.CacheReadInputTokens.Valid() {
			t.read = u.CacheReadInputTokens
		}
	case "content_block_start":
		switch c := &e.ContentBlock; c.Type {
		case "text":
			return t.turn.Text(c.Text)
		case "thinking":
			if err := t.turn.Sign(int(e.Index), c.Signature); err != nil {
				return err
			}
			return t.turn.Reasoning(int(e.Index), c.Thinking)
		case "redacted_thinking":
			return t.turn.Redact(int(e.Index), c.Data)
		case "tool_use":
			return t.turn.StartCall(int(e.Index), c.ID, c.Name, "")
		}
	case "content_block_delta":
		switch d := &e.Delta; d.Type {
		case "text_delta":
			return t.turn.Text(d.Text)
		case "thinking_delta":
			return t.turn.Reasoning(int(e.Index), d.Thinking)
		case "signature_delta":
			return t.turn.Sign(int(e.Index), d.Signature)
		case "input_json_delta":
			return t.turn.Input(int(e.Index), d.PartialJSON)
		}
	case "content_block_stop":
		t.turn.EndBlock(int(e.Index))
	case "message_delta":
		if s := string(e.Delta.StopReason); s != "" {
			t.stop = s
		}
		t.addUsage(&e.Usage)
	case "message_stop":
		t.over = true
	}
	return nil
}

// addUsage stores the totals from the end of the stream. Some servers only estimate them at the start.
func (t *reading) addUsage(u *sdk.MessageDeltaUsage) {
	if u.OutputTokens > 0 {
		t.out = u.OutputTokens
	}
	if u.InputTokens > 0 {
		t.in = u.InputTokens
	}
	if u.JSON.CacheCreationInputTokens.Valid() {
		t.wrote = max(t.wrote, u.CacheCreationInputTokens)
	}
	if u.JSON.CacheReadInputTokens.Valid() {
		t.read = max(t.read, u.CacheReadInputTokens)
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
	u := backend.Usage{PromptTokens: t.in + max(t.read, 0) + t.wrote, CachedTokens: t.read, CompletionTokens: t.out}
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

package anthropic

import (
	"context"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/blocks"
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
	text, err := body(r, model, enforce)
	if err != nil {
		return nil, b.located(&backend.Error{Class: backend.InvalidRequest, Err: err})
	}
	callCtx, cancel := blocks.Bounded(ctx, r.SilenceTimeout)
	defer cancel() // closes the connection, unless the stream has ended

	answer, err := b.call(callCtx, http.MethodPost, "/v1/messages", text)
	if err != nil {
		return nil, b.failure(ctx, heard(callCtx, err))
	}
	defer answer.Body.Close()
	if err := checkStream(answer); err != nil {
		return nil, b.failure(ctx, err)
	}
	t := newReading(o)
	resp, err := t.end(heard(callCtx, t.read(ctx, answer)))
	if err != nil {
		return nil, b.failure(ctx, err)
	}
	if t.over {
		late := time.AfterFunc(trailing, cancel)
		_, _ = io.Copy(io.Discard, answer.Body)
		late.Stop()
	}
	resp.Headroom = headroom(answer.Header, time.Now())
	return resp, nil
}

// heard returns err, or the error of a call that fell silent. ctx is the context of [blocks.Bounded].
func heard(ctx context.Context, err error) error {
	if silent := blocks.Silent(ctx); silent != nil {
		return silent
	}
	return err
}

// checkStream returns an error if the media type of a successful answer cannot be a stream of events.
func checkStream(answer *http.Response) error {
	switch kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type")); kind {
	case "text/html", "application/json":
		return &backend.Error{Class: backend.InvalidRequest, Status: answer.StatusCode,
			Message: "the answer is not a stream of events; does this server speak Anthropic's Messages API, and is the URL's path its base path?"}
	}
	return nil
}

package openaichat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"time"

	openai "github.com/sashabaranov/go-openai"

	"github.com/batchagent/batchagent/pkg/backend"
)

const defaultSilence = 2 * time.Minute

// Generate runs one model call as a stream. See [backend.Backend].
//
// Reasoning, and members of tool calls that the protocol does not have, are sent back as the server sent them. A server
// that refuses such a member does not get it again; the call is made once more without it, which costs nothing.
func (c *Client) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	model, err := c.ModelOr(ctx, r.Model)
	if err != nil {
		return nil, err
	}
	for {
		sent := c.sentBeyond(model, r) // calls side by side may be refused for the same member
		resp, err := c.generateWithin(ctx, r, model, o)
		member := unwanted(sent, err)
		if member == "" {
			return resp, err
		}
		c.members.Add(model, member)
	}
}

// generateWithin makes a call, and once more with a shorter answer if the window has no room for the answer asked for.
func (c *Client) generateWithin(ctx context.Context, r *backend.Request, model string, o backend.Observer) (*backend.Response, error) {
	resp, err := c.generate(ctx, r, model, o)
	if room := c.roomLeft(r, err); room > 0 {
		shorter := *r
		shorter.Sampling.MaxTokens = room
		return c.generate(ctx, &shorter, model, o)
	}
	return resp, err
}

// roomLeft is how many tokens an answer may have that was refused because it might outgrow the window; 0 if that was
// not the reason.
func (c *Client) roomLeft(r *backend.Request, err error) int {
	e, ok := errors.AsType[Refusal](err)
	if !c.dialect.Clamp || !ok || e.Window == 0 || backend.ClassOf(err) != backend.ContextTooLong {
		return 0
	}
	room := e.Window - (e.Needs - r.Sampling.MaxTokens)
	if room >= r.Sampling.MaxTokens {
		return 0
	}
	return room
}

func (c *Client) generate(ctx context.Context, r *backend.Request, model string, o backend.Observer) (*backend.Response, error) {
	callCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil) // closes the connection, if the stream has not ended

	x := &exchange{client: c, request: r, model: model, cancel: cancel}
	cfg := c.openai
	cfg.HTTPClient = x
	t := newTurn(o, enforcesSchema(r))
	t.rules = c.rules()
	t.dispatch = c.dialect.Dispatch && len(r.Tools) > 0 && (r.ToolChoice == "" || r.ToolChoice == backend.ToolChoiceAuto)
	stream, err := openai.NewClientWithConfig(cfg).CreateChatCompletionStream(callCtx, chatRequest(r))
	if err != nil {
		if !x.built {
			err = &backend.Error{Class: backend.InvalidRequest, Err: err}
		}
		return nil, c.failure(ctx, x.cause(callCtx, err))
	}
	defer stream.Close()

	for {
		event, err := stream.RecvRaw()
		if err == nil {
			if err = t.add(event); err == nil {
				err = ctx.Err() // what is buffered may be read long after a cancel
			}
			if err == nil {
				continue
			}
			return nil, c.failure(ctx, err)
		}
		resp, err := t.end(x.cause(callCtx, err))
		if err != nil {
			return nil, c.failure(ctx, err)
		}
		x.body.drain()
		resp.Headroom = headroom(x.header)
		return resp, nil
	}
}

// errSilent is why a call was cancelled whose stream has stopped telling anything.
var errSilent = errors.New("the stream fell silent")

// exchange is the HTTP side of one model call. It is go-openai's HTTPDoer for that call.
type exchange struct {
	client  *Client
	request *backend.Request
	model   string
	cancel  context.CancelCauseFunc
	built   bool       // go-openai could encode the request
	body    *eventBody // set once the stream has started
	header  http.Header
}

// Do completes the request that go-openai built, sends it, and puts the event filter before the answer's body. A
// refused call is an error here, because go-openai understands only some shapes of its body.
func (x *exchange) Do(req *http.Request) (*http.Response, error) {
	x.built = true
	c := x.client
	if err := rewrite(req, func(body []byte) ([]byte, error) {
		return splice(body, x.model, messages(x.request.Messages, c.untaken(x.model)), c.fields(x.request))
	}); err != nil {
		return nil, &backend.Error{Class: backend.InvalidRequest, Err: err}
	}
	if c.dialect.Header != nil {
		maps.Copy(req.Header, c.dialect.Header(x.request))
	}
	resp, err := c.http.Do(req) //nolint:gosec // the URL is the operator's
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		defer resp.Body.Close()
		return nil, c.refusal(resp)
	}
	if err := c.rules().checkStream(resp); err != nil {
		resp.Body.Close()
		return nil, err
	}
	x.body = newEventBody(resp.Body, x.silence(), x.cancel, &c.buffers)
	x.body.rules = c.rules()
	if c.dialect.Dispatch {
		x.body.extra = dispatchEvent
	}
	x.header = resp.Header
	resp.Body = x.body
	return resp, nil
}

func (x *exchange) silence() time.Duration {
	if x.request.SilenceTimeout > 0 {
		return x.request.SilenceTimeout
	}
	return defaultSilence
}

// cause returns why reading ended: err, or the silence that made it end.
func (x *exchange) cause(callCtx context.Context, err error) error {
	if errors.Is(context.Cause(callCtx), errSilent) {
		return &backend.Error{Class: backend.Transient, Status: http.StatusOK,
			Message: fmt.Sprintf("no event for %s", x.silence()), Err: errSilent}
	}
	return err
}

// checkStream returns an error if a successful answer is of a kind that cannot be a stream of events.
func (f rules) checkStream(resp *http.Response) error {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch kind {
	case "text/html":
		return &backend.Error{Class: backend.InvalidRequest, Status: resp.StatusCode,
			Message: "the answer is a web page; is this an OpenAI-compatible server?"}
	case "application/json":
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBytes))
		if err != nil {
			return err
		}
		if e := parseErrorBody(body); e.found {
			return f.asError(e)
		}
		return &backend.Error{Class: backend.InvalidRequest, Status: resp.StatusCode,
			Message: "the answer is not a stream; does this server support \"stream\": true?"}
	}
	return nil
}

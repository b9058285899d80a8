package openaichat

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	openai "github.com/sashabaranov/go-openai"

	"github.com/batchagent/batchagent/pkg/backend"
)

const (
	defaultSilence = 2 * time.Minute
	// grace limits the wait for "[DONE]" after the finish reason and the usage; graceForUsage limits the wait for the usage.
	grace         = time.Second
	graceForUsage = 5 * time.Second
)

// dispatchEvents are the names of events that announce a whole call ahead of its deltas.
var dispatchEvents = []string{"tool_call_dispatch"}

// Generate runs one model call as a stream. See [backend.Backend].
//
// Reasoning and unknown members of tool calls are sent back as the server sent them. If a server refuses a field of the
// request or such a member, the call is repeated without it, and later calls omit it. A refusal costs nothing. Each
// such field is logged once.
func (c *Client) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	model, err := c.ModelOr(ctx, r.Model)
	if err != nil {
		return nil, err
	}
	if first := o.FirstToken; first != nil {
		var once sync.Once
		o.FirstToken = func() { once.Do(first) }
	}
	o = c.pieces.Observer(o)
	tried := map[string]string{} // by part: the error of its refusal
	for {
		without := parts(c.refused.Of(model))
		request, leftOut := adapted(r, without)
		resp, err := c.pieces.Answer(c.generateWithin(ctx, call{request, model, without}, o))
		if err == nil {
			resp.LeftOut = leftOut
			return resp, nil
		}
		part := c.refusedPart(request, without, err)
		if _, again := tried[part]; part == "" || again {
			c.reconsider(model, tried, err)
			return nil, err
		}
		if len(tried) == 0 {
			tried = map[string]string{}
		}
		tried[part] = err.Error()
		c.leaveOut(model, part)
	}
}

// reconsider removes the records of parts whose omission did not help: the repeated call failed with the same error, or
// the refusal still names them.
func (c *Client) reconsider(model string, tried map[string]string, err error) {
	refusal, ok := errors.AsType[Refusal](err)
	still := mention{refusal, strings.ToLower(refusal.Message)}
	for part, message := range tried {
		field, _, _ := strings.Cut(part, " ")
		if message == err.Error() || ok && backend.ClassOf(err) == backend.InvalidRequest && still.names(field) {
			c.refused.Remove(model, part)
		}
	}
}

// call is a request in the form to be sent.
type call struct {
	*backend.Request
	model   string
	without parts
}

// generateWithin makes a call. If the window is too small for the requested answer, it repeats the call once with a shorter answer.
func (c *Client) generateWithin(ctx context.Context, r call, o backend.Observer) (*backend.Response, error) {
	resp, err := c.generate(ctx, r, o)
	if room := c.roomLeft(r.Request, err); room > 0 {
		shorter := *r.Request
		shorter.Sampling.MaxTokens = room
		r.Request = &shorter
		return c.generate(ctx, r, o)
	}
	return resp, err
}

// roomLeft returns the tokens that are left for an answer, if a call was refused because the answer might exceed the
// window; otherwise 0.
func (c *Client) roomLeft(r *backend.Request, err error) int {
	e, ok := errors.AsType[Refusal](err)
	if !c.dialect.Clamp || !ok || e.Window == 0 || !e.Total || backend.ClassOf(err) != backend.ContextTooLong {
		return 0
	}
	room := e.Window - (e.Needs - r.Sampling.MaxTokens)
	if room >= r.Sampling.MaxTokens {
		return 0
	}
	return room
}

// generate makes one call.
func (c *Client) generate(ctx context.Context, r call, o backend.Observer) (*backend.Response, error) {
	callCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil) // closes the connection, unless the stream has ended

	x := &exchange{client: c, call: r, cancel: cancel}
	cfg := c.openai
	cfg.HTTPClient = x
	t := newTurn(o, r.SendsSchema())
	t.rules = c.rules()
	t.dispatch = c.dialect.Dispatch && len(r.Tools) > 0 && (r.ToolChoice == "" || r.ToolChoice == backend.ToolChoiceAuto)
	t.calls.offered = names(r.Tools)
	stream, err := openai.NewClientWithConfig(cfg).CreateChatCompletionStream(callCtx, chatRequest(r.Request, r.without))
	if err != nil {
		if !x.built {
			err = &backend.Error{Class: backend.InvalidRequest, Err: err}
		}
		return nil, c.failure(ctx, x.cause(callCtx, err))
	}
	defer stream.Close()

	broken, err := c.read(ctx, x, t)
	if err != nil {
		return nil, c.failure(ctx, err)
	}
	t.stray = x.body.stray
	resp, err := t.end(x.cause(callCtx, broken))
	if err != nil {
		return nil, c.failure(ctx, err)
	}
	x.body.drain(func() { cancel(errComplete) })
	resp.Headroom = headroom(x.header)
	return resp, nil
}

// read handles the events of a stream. broken is the error that ended the body; nil if the end mark came.
func (c *Client) read(ctx context.Context, x *exchange, t *turn) (broken, err error) {
	for {
		ev, broken := x.body.next()
		if broken != nil {
			return broken, nil
		}
		over, err := t.take(ev)
		if err == nil {
			err = ctx.Err() // buffered events may be read long after a cancel
		}
		if err != nil || over {
			return nil, err
		}
		if t.finish != "" {
			wait := graceForUsage
			if t.usage != nil {
				wait = grace
			}
			x.body.grace(wait, func() { x.cancel(errComplete) })
		}
	}
}

func names(tools []backend.Tool) []string {
	out := make([]string, len(tools))
	for i, t := range tools {
		out[i] = t.Name
	}
	return out
}

// errComplete is the cause of cancelling a call after its complete answer.
var errComplete = errors.New("the answer is complete")

// errSilent is the cause of cancelling a call after the silence timeout.
var errSilent = errors.New("the stream fell silent")

// exchange is the HTTP side of one model call. It is go-openai's HTTPDoer for that call.
type exchange struct {
	client *Client
	call   call
	cancel context.CancelCauseFunc
	built  bool       // go-openai was able to encode the request
	body   *eventBody // set when the stream has started
	header http.Header
}

// Do completes the request that go-openai built, sends it, and prepares the answer's body for event decoding. It
// returns a refused call as an error, because go-openai parses only some shapes of its body.
func (x *exchange) Do(req *http.Request) (*http.Response, error) {
	x.built = true
	c := x.client
	if err := rewrite(req, func(body []byte) ([]byte, error) {
		return splice(body, x.call.model, messages(x.call.Messages, func(member string) bool { return x.call.without[member] }), c.fields(x.call.Request, x.call.without))
	}); err != nil {
		return nil, &backend.Error{Class: backend.InvalidRequest, Err: err}
	}
	if c.dialect.Header != nil {
		maps.Copy(req.Header, c.dialect.Header(x.call.Request))
	}
	resp, err := c.http.Do(req) //nolint:gosec // the URL is the operator's
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		defer resp.Body.Close()
		return nil, c.refusal(resp)
	}
	x.body = newEventBody(unpacked(resp), x.silence(), func() { x.cancel(errSilent) }, &c.buffers)
	if c.dialect.Dispatch {
		x.body.names = dispatchEvents
	}
	x.header = resp.Header
	resp.Body = x.body
	return resp, nil
}

func (x *exchange) silence() time.Duration {
	if x.call.SilenceTimeout > 0 {
		return x.call.SilenceTimeout
	}
	return defaultSilence
}

// cause returns why reading ended: err, the silence timeout, or io.EOF for a stream that was closed because its answer is complete.
func (x *exchange) cause(callCtx context.Context, err error) error {
	switch why := context.Cause(callCtx); {
	case err == nil:
		return nil
	case errors.Is(why, errComplete):
		return io.EOF
	case errors.Is(why, errSilent):
		return &backend.Error{Class: backend.Transient, Status: http.StatusOK,
			Message: fmt.Sprintf("no event for %s", x.silence()), Err: errSilent}
	}
	return err
}

// unpacked returns the body of an answer. It decompresses the body if a proxy compressed it without being asked.
func unpacked(resp *http.Response) io.ReadCloser {
	if !strings.EqualFold(resp.Header.Get("Content-Encoding"), "gzip") {
		return resp.Body
	}
	return &unzipped{body: resp.Body}
}

// unzipped decompresses a body while it is read.
type unzipped struct {
	body io.ReadCloser
	zip  *gzip.Reader // nil before the first read
}

func (u *unzipped) Read(p []byte) (int, error) {
	if u.zip == nil {
		zip, err := gzip.NewReader(u.body)
		if err != nil {
			return 0, fmt.Errorf("unpack the answer: %w", err)
		}
		u.zip = zip
	}
	return u.zip.Read(p)
}

func (u *unzipped) Close() error { return u.body.Close() }

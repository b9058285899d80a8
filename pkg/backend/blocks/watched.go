package blocks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
)

const defaultSilence = 2 * time.Minute

// errSilent is the cause of cancelling a call after the silence limit.
var errSilent = errors.New("the stream fell silent")

type silenceKey struct{}

type silence struct {
	limit  time.Duration
	cancel context.CancelCauseFunc
}

// Bounded returns a context for one model call. Once the answer has begun, its silence is limited to limit; 0 means 2
// minutes. The limit applies in a [Watched] transport. The caller calls cancel at the end.
func Bounded(ctx context.Context, limit time.Duration) (_ context.Context, cancel func()) {
	if limit <= 0 {
		limit = defaultSilence
	}
	ctx, c := context.WithCancelCause(ctx)
	return context.WithValue(ctx, silenceKey{}, silence{limit, c}), func() { c(nil) }
}

// Silent returns the error of a call that reached the silence limit, and otherwise nil. ctx is the context from [Bounded].
func Silent(ctx context.Context) *backend.Error {
	if !errors.Is(context.Cause(ctx), errSilent) {
		return nil
	}
	s, _ := ctx.Value(silenceKey{}).(silence)
	return &backend.Error{Class: backend.Transient, Status: http.StatusOK, Message: fmt.Sprintf("no event for %s", s.limit), Err: errSilent}
}

const (
	maxAnswer  = 32 << 20 // bytes of an answer that is not a stream
	maxRefusal = 1 << 20  // bytes read of an answer with a status other than 200
	maxEvent   = 8 << 20  // bytes of one event of a stream
)

// Watched is a transport that watches the answers of calls with a [Bounded] context. Keep-alives count as events. It
// also cuts answers that are not streams at a generous length, because SDKs read them as a whole.
type Watched struct{ Base http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (w Watched) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.Base.RoundTrip(r)
	if err == nil {
		resp.Body = bounded(resp)
	}
	if s, ok := r.Context().Value(silenceKey{}).(silence); ok && err == nil {
		t := time.AfterFunc(s.limit, func() { s.cancel(errSilent) })
		t.Stop()
		resp.Body = &watchedBody{ReadCloser: resp.Body, timer: t, limit: s.limit}
	}
	return resp, err
}

// bounded returns the body of an answer with its size limit.
func bounded(resp *http.Response) io.ReadCloser {
	limit := int64(maxAnswer)
	switch kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); {
	case resp.StatusCode != http.StatusOK:
		limit = maxRefusal
	case kind == "text/event-stream":
		return &eventBody{ReadCloser: resp.Body}
	case kind == "application/vnd.amazon.eventstream":
		return resp.Body // its format limits each event
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, limit), resp.Body}
}

// eventBody is a stream of text events. It fails at an event that is too long. A blank line ends an event.
type eventBody struct {
	io.ReadCloser

	size  int  // bytes of the current event
	blank bool // the current line is empty so far
}

func (b *eventBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	for _, c := range p[:n] {
		switch {
		case c != '\n' && c != '\r':
			b.blank = false
		case b.blank:
			b.size = 0
		default:
			b.blank = c == '\n'
		}
		b.size++
	}
	if b.size > maxEvent {
		return n, fmt.Errorf("an event of the stream is longer than %d bytes", maxEvent)
	}
	return n, err
}

// CloseIdleConnections is called by http.Client.
func (w Watched) CloseIdleConnections() {
	if c, ok := w.Base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

type watchedBody struct {
	io.ReadCloser

	timer *time.Timer
	limit time.Duration
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.limit) // only during a read: a slow reader is not a silent server
	defer b.timer.Stop()
	return b.ReadCloser.Read(p)
}

package toolpool

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/batchagent/batchagent/pkg/retryafter"
)

// Transient marks a tool's error as transient, so that the pool retries before it returns a failure to the model.
// after is the wait that the service requests; 0 uses the pool's own. The pool never retries a tool with side effects.
func Transient(err error, after time.Duration) error { return &transientError{err, after} }

// Unanswered marks the error of a call that was sent and has no usable answer. If the tool has side effects, the text for the model adds that
// the call may have had them. The error is also [Transient], so the pool retries the call of any other tool.
func Unanswered(err error) error { return Transient(&unansweredError{err}, 0) }

type unansweredError struct{ error }

func (e *unansweredError) Unwrap() error { return e.error }

// HTTPStatus marks err with [Transient] if the response status is transient: 429, and 5xx except 501. It honours a
// Retry-After header up to an hour. A date in that header is relative to the server's clock, if the response has a Date.
func HTTPStatus(resp *http.Response, err error) error {
	if resp.StatusCode != http.StatusTooManyRequests && (resp.StatusCode < 500 || resp.StatusCode == http.StatusNotImplemented) {
		return err
	}
	return Transient(err, min(retryafter.Read(resp.Header, time.Now()), time.Hour))
}

type transientError struct {
	error
	after time.Duration
}

func (e *transientError) Unwrap() error { return e.error }

// isTransient recognizes marked errors, network timeouts, and connections that broke or were refused.
func isTransient(err error) (after time.Duration, yes bool) {
	if marked, ok := errors.AsType[*transientError](err); ok {
		return marked.after, true
	}
	for _, e := range []error{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, io.ErrUnexpectedEOF} {
		if errors.Is(err, e) {
			return 0, true
		}
	}
	network, ok := errors.AsType[net.Error](err)
	return 0, ok && network.Timeout()
}

// backoff returns the wait after the given failure: about 0.2 s, then 0.8 s. Both are random, so that callers do not retry together.
func backoff(try int) time.Duration {
	d := 200 * time.Millisecond << (2 * (try - 1))
	return d/2 + rand.N(d)
}

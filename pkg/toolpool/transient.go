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

// Transient marks a tool's error as one that may pass, so that the pool tries again before a model reads it. after is
// how long the service asks to be left alone; 0 leaves that to the pool. A tool with side effects is never tried again.
func Transient(err error, after time.Duration) error { return &transientError{err, after} }

// HTTPStatus marks err, which tells of an answer's status, with [Transient] if such an answer may pass: 429 and 5xx but
// for 501. A Retry-After header is kept to, for an hour at most; a date in it is measured by the clock of the server, if the
// answer tells that.
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

// isTransient also knows the errors of connections that broke or were refused.
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

// backoff is the wait after the given failure: about 0.2 s, then 0.8 s, each spread so that callers do not come back
// together.
func backoff(try int) time.Duration {
	d := 200 * time.Millisecond << (2 * (try - 1))
	return d/2 + rand.N(d)
}

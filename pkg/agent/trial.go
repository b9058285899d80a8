package agent

import (
	"context"
	"errors"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
)

// Endpoint compares one job's model calls with those of all others. internal/worker implements it.
type Endpoint interface {
	// Answered returns when the most recently sent of the answered calls to the model was sent. It is zero if no answered
	// call counts against the job. proven reports that a job with similar requests sent the call, and not the worker as a
	// probe.
	Answered(model, job string) (sent time.Time, proven bool)
	// Doubtful reports whether calls that fail like e may succeed when repeated: an outage began, or such repeats were
	// answered recently.
	Doubtful(model string, e *backend.Error) bool
	// AnsweredSince reports whether a call to the model of like was sent after t and answered. If none was, it sends a small
	// well-formed request.
	AnsweredSince(ctx context.Context, like *backend.Request, t time.Time) bool
}

// ErrPaused is returned by a [Model] if an outage began after the agent got its slot. Nothing was sent.
var ErrPaused = errors.New("the model server is paused")

const (
	leastTries     = 2  // failed calls of one turn before the job fails
	doubtfulTries  = 8  // the same while such calls succeed when repeated
	throttledTries = 50 // the same for a server that is too busy
	// settleTime is the wait for the ends of other calls before a job fails.
	settleTime = 2 * time.Second
)

// trial decides whether the failures of one turn's model call are the job's own. A failure counts only if another call
// was answered between it and the previous counted failure. The last failure also needs an answered call after it,
// because it may be the first sign of an outage.
type trial struct {
	endpoint   Endpoint // nil counts every failure
	model, job string
	maxRetries int
	waits      waits

	failures int           // failures that count
	counted  time.Time     // when the last of these calls was sent
	class    backend.Class // of the last of these failures
	varies   bool          // the previous failure had another class
	sent     time.Time
	counts   bool // a failure of the call under way counts
	proven   bool // the evidence for that is a job's call
}

// start records that a call is sent.
func (t *trial) start() {
	t.sent = time.Now()
	t.counts = t.endpoint == nil || t.failures == 0
	if !t.counts {
		answered, proven := t.endpoint.Answered(t.model, t.job)
		t.counts, t.proven = answered.After(t.counted), proven
	}
}

// fail records that the call failed.
func (t *trial) fail(c backend.Class) {
	if t.counts {
		t.varies = t.failures > 0 && t.class != c
		t.failures, t.counted, t.class = t.failures+1, t.sent, c
	}
}

// exhausted reports whether no try is left. A bad request is refused in the same way each time.
func (t *trial) exhausted(c backend.Class) bool {
	if t.endpoint != nil && !c.Retryable() && t.varies && t.failures < doubtfulTries {
		return false
	}
	return t.counts && t.failures >= t.tries(c)
}

// tries returns how many calls may fail with this class.
func (t *trial) tries(c backend.Class) int {
	n := 1
	if c.Retryable() {
		n += t.maxRetries
	}
	switch {
	case t.endpoint == nil:
		return n
	case c == backend.RateLimited || c == backend.Overloaded:
		return max(n, throttledTries)
	}
	return max(n, leastTries)
}

// hopeless reports whether the job has to fail, now that the ends of other calls are known.
func (t *trial) hopeless(ctx context.Context, req *backend.Request, e *backend.Error) bool {
	switch {
	case t.endpoint == nil:
		return true
	case t.failures < max(doubtfulTries, t.tries(e.Class)) && t.endpoint.Doubtful(t.model, e):
		return false
	}
	return t.endpoint.AnsweredSince(ctx, req, t.counted)
}

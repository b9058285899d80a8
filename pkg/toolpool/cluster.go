package toolpool

import (
	"context"
	"errors"
	"time"
)

// ErrAway is the error of a [Cluster] that is unreachable. The pool then runs calls without it.
var ErrAway = errors.New("the store for shared tool calls is unreachable")

// ErrPatience is the error of [Cluster.Join] when another process exceeded Window.Patience.
var ErrPatience = errors.New("the execution by another process takes too long")

// Cluster shares executions and rate limits between the pools of several processes. [shared.Sharer] is one. It is safe for
// concurrent use.
type Cluster interface {
	// Join waits until the call has a result or this process may run it. It fails with ctx' error, ErrPatience or ErrAway.
	Join(ctx context.Context, w Window) (Joined, error)
	// Take requests up to n starts of a limited tool. It fails with ErrAway or ctx' error.
	Take(ctx context.Context, b Bucket, n int) (Grant, error)
	// Away reports whether the store was unreachable at the last attempts.
	Away() bool
}

// Window identifies the calls that may share one execution.
type Window struct {
	Key   [32]byte
	Share Share         // Pure, ForTTL or Inflight
	TTL   time.Duration // for ForTTL
	// Patience limits the wait for one execution by another process. At 0 the wait lasts until that process ends.
	Patience time.Duration
}

// Joined is the result of a Join: either a Lead or an outcome.
type Joined struct {
	Lead Lead // not nil: this process runs the call

	Outcome Shared
	Waited  bool          // true if the execution was running, false if the result was stored
	By      string        // name of the process that ran the execution
	Keep    time.Duration // how long this process may keep the result; 0 not at all, negative without limit
	// Ended is the earliest time at which the execution can have ended, by this process' clock. Zero if irrelevant.
	Ended time.Time
}

// Shared is an outcome in the form that processes exchange.
type Shared struct {
	Content string
	Failed  bool
}

// Lead is the right to run a call for the whole cluster. The holder calls exactly one of its methods, once. The
// methods return no error: if this process lost the right, another process runs the call.
type Lead interface {
	// Publish sends the outcome to the waiting processes. If keep is true, later calls can read it too. Publish may
	// return before the write is confirmed.
	Publish(ctx context.Context, o Shared, keep bool)
	// Abandon lets another process run the call.
	Abandon(ctx context.Context)
}

// Bucket is the rate limit of a tool in the whole cluster.
type Bucket struct {
	Name      string
	PerSecond float64
	Burst     int
}

// Grant is the answer of a bucket.
type Grant struct {
	Starts int           // how many executions may start
	Wait   time.Duration // before the next request, if Starts is less than requested
	Nodes  int           // processes that recently took from the bucket, this one included
}

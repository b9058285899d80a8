package toolpool

import (
	"context"
	"errors"
	"time"
)

// ErrAway is what a [Cluster] returns when it cannot be reached. The pool then goes on by itself.
var ErrAway = errors.New("the store that processes share tool calls through is away")

// ErrPatience is what [Cluster.Join] returns when another process took longer than Window.Patience.
var ErrPatience = errors.New("the execution by another process takes too long")

// Cluster shares executions and rates between the pools of several processes. [shared.Sharer] is one. It is safe for
// concurrent use.
type Cluster interface {
	// Join waits until the call's result is there or this process is the one to run it. It fails with ctx' error,
	// ErrPatience or ErrAway.
	Join(ctx context.Context, w Window) (Turn, error)
	// Take asks for up to n starts of a limited tool. It fails with ErrAway or ctx' error.
	Take(ctx context.Context, b Bucket, n int) (Grant, error)
	// Away reports whether the store could not be reached lately.
	Away() bool
}

// Window is what may share one execution.
type Window struct {
	Key   [32]byte
	Share Share         // Pure, ForTTL or Inflight
	TTL   time.Duration // for ForTTL
	// Patience bounds the wait for any one execution by another process; 0 waits as long as that process lives.
	Patience time.Duration
}

// Turn is what became of a Join: a Lead, or else an outcome.
type Turn struct {
	Lead Lead // not nil: this process runs the call

	Outcome Shared
	Waited  bool          // for an execution under way; otherwise the result was there
	By      string        // the process that was waited for, as it calls itself
	Keep    time.Duration // how long this process may keep the result; 0 not at all, negative for ever
	// Ended is when the execution had ended at the earliest, by this process' clock; zero if that does not matter.
	Ended time.Time
}

// Shared is an outcome as processes pass it on.
type Shared struct {
	Content string
	Failed  bool
}

// Lead is the right to run a call for the whole cluster. Exactly one of its methods is called, once. Neither fails: if
// the right was lost, another process runs the call.
type Lead interface {
	// Publish hands the outcome to those that wait and, if it may be kept, to those that come. It may return before
	// that is known to have happened.
	Publish(ctx context.Context, o Shared, keep bool)
	// Abandon lets another process run the call.
	Abandon(ctx context.Context)
}

// Bucket is a tool's rate in the whole cluster.
type Bucket struct {
	Name      string
	PerSecond float64
	Burst     int
}

// Grant is what a bucket gave.
type Grant struct {
	Starts int           // how many executions may start
	Wait   time.Duration // before asking again is of use, if Starts is less than asked
	Nodes  int           // processes that took from the bucket lately, this one included
}

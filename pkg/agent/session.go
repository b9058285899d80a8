package agent

import (
	"context"
	"iter"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// Session holds all that one attempt at a job uses. internal/worker sets every field to one value, which is the attempt.
// Model, Slots and Tools are required.
type Session struct {
	Model   Model
	Slots   Slots
	Tools   Tools
	Journal Journal // Required if the job can have more than one turn.
	// Effects is the job's effect log. With nil, an effect may happen twice after a takeover.
	Effects Effects
	Budget  Budget  // Nil limits nothing.
	Results Results // Required if the job reduces.
	Twins   Twins   // Nil runs every job.
	Program Program // Required if a program is the agent.
	// Observer is called when the attempt begins a turn or changes its state. Nil is skipped.
	Observer Observer
}

// Model makes model calls. [backend.Backend] implements it.
type Model interface {
	// Generate makes one call. [ErrPaused] means that nothing was sent, because an outage began.
	Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error)
}

// Slots hands out permits for one model request in flight each.
type Slots interface {
	// Acquire waits for a slot. The job with the fewest turns remaining goes first. held is the part of the wait that was not
	// for a slot; it is valid with an error too. The error wraps context.Cause(ctx), or is [ErrPaused] if w.Reserved is set
	// and the model is paused. Any other error ends the attempt without a result.
	Acquire(ctx context.Context, w Wait) (release func(), held time.Duration, err error)
}

// Wait describes an agent that waits before a model call.
type Wait struct {
	TurnsRemaining int    // including the turn of the call
	Session        string // of the call, see [backend.Hints]
	Clock          *Clock // of the job; stopped while the agent waits for the end of an outage
	// Reserved reports that the agent holds a reservation of the batch's budget. A pause then ends the wait, so that the agent
	// releases its reservation and makes a new one later.
	Reserved bool
}

// Tools runs tool calls. [toolpool.Pool] implements it.
type Tools interface {
	// Call returns an error only if ctx is done, or for a tool with side effects that must not run.
	Call(ctx context.Context, c toolpool.Call) (toolpool.Result, error)
}

// Journal stores the turns of a job.
type Journal interface {
	// Append writes turn number turn (1-based). It returns an error only if nothing more may be written: the lease is fenced or
	// ctx is done.
	Append(ctx context.Context, turn int, data []byte) error
}

// Results are the results of another batch, which a job reduces.
type Results interface {
	// Results returns them ordered by index. Every call returns the same results. A *batch.Error fails the job; any other
	// error ends the attempt without a result.
	Results(ctx context.Context) iter.Seq2[batch.Result, error]
}

// Twins lets one of several twins run for all of them.
type Twins interface {
	// AwaitTwin waits while a twin of this job runs. It returns the twin's result, or nil if this job has to run: as the
	// first one, or because the twin that ran has no output. An error means that the wait ended early.
	AwaitTwin(ctx context.Context, fingerprint string) (*spec.Reuse, error)
}

// Observer follows an attempt.
type Observer interface {
	// StateChanged is called for every change of the job's state, by one goroutine at a time.
	StateChanged(from, to batch.State)
	// TurnBegan is called when a turn of the conversation begins; number is 1-based. The turn's waits and calls run under
	// contexts returned by with. ended is called with the error that ended the job's attempt, or nil if the job has a next turn
	// or an answer. A job that reduces may call TurnBegan from several goroutines.
	TurnBegan(ctx context.Context, number int) (with func(context.Context) context.Context, ended func(error))
}

package agent

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// ErrStopped is what [Runner.Run] returns when the job was asked to stop at a turn boundary. The journal is complete
// up to there; the lease should be released.
var ErrStopped = errors.New("agent stopped at a turn boundary")

// Model makes model calls. [backend.Backend] is one.
type Model interface {
	Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error)
}

// Slots hands out permissions to have one model request in flight.
type Slots interface {
	// Acquire waits for a slot; fewest turns remaining goes first. The error wraps context.Cause(ctx).
	Acquire(ctx context.Context, turnsRemaining int) (release func(), err error)
}

// Tools runs tool calls. [toolpool.Pool] is one.
type Tools interface {
	// Call returns an error only when ctx is done, or for a tool with side effects that must not run.
	Call(ctx context.Context, c toolpool.Call) (toolpool.Result, error)
}

// Job is one attempt at a job.
type Job struct {
	ID      batch.Job
	Attempt int
	Payload []byte        // JSON of spec.Payload
	Journal [][]byte      // turns of earlier attempts, oldest first
	Queued  time.Duration // before the attempt, for Times of the result

	// Logger is told of what happens to the job, and names it already. Defaults to the runner's with the job and the attempt.
	Logger *slog.Logger
	// Append writes turn number turn (1-based) to the journal. It returns an error only when nothing more may be
	// written: the lease is fenced or ctx is done.
	Append func(ctx context.Context, turn int, data []byte) error
	// Effects is the job's ledger. Nil writes nothing down: then an effect may happen twice after a takeover.
	Effects Effects
	// Results are those that the job reduces, in the order of their indexes; needed only for a job that reduces. The same ones
	// come at every call. A *batch.Error fails the job, any other leaves it without a result.
	Results func(ctx context.Context) iter.Seq2[batch.Result, error]
	// Budget is the batch's. Nil limits nothing.
	Budget Budget
	// Stop asks the agent to end at its next turn boundary when it is closed. Nil never does.
	Stop <-chan struct{}
	// OnState is told of every state change, on the agent's goroutine. Nil is skipped.
	OnState func(from, to batch.State)
	// OnTurn is told when a turn begins: number number of its conversation, 1-based. The turn's waits and calls run under
	// contexts that with has changed, and ended is told why the job has no further turn: nil if it has one, or an answer.
	// A job that reduces may call it from several goroutines. Nil is skipped.
	OnTurn func(ctx context.Context, number int) (with func(context.Context) context.Context, ended func(error))
}

// Turn is one entry of a job's journal: what one turn added to the conversation. Its JSON form is kept in Redis.
type Turn struct {
	Assistant backend.Message   `json:"assistant"`
	Tools     []backend.Message `json:"tools,omitempty"`   // results, in the order of Assistant.ToolCalls
	Sources   []CallSource      `json:"sources,omitempty"` // of Tools, in the same order
	Repair    string            `json:"repair,omitempty"`  // the user message that asks for a valid answer
	Usage     batch.Usage       `json:"usage"`
	Counts    batch.ToolCounts  `json:"counts"`
	Model     string            `json:"model"`
	LeftOut   []string          `json:"left_out,omitempty"` // as of [batch.Result], up to this turn
	Part      *Part             `json:"part,omitempty"`     // of a job that reduces: the turn is an answer for a part of the results
}

// CallSource says where the result of a tool call is from.
type CallSource struct {
	From toolpool.Source `json:"from,omitempty"` // "" if the call was refused before anything ran
	By   string          `json:"by,omitempty"`   // the process that ran it, if it was another one
}

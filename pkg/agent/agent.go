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

// ErrStopped is returned by [Runner.Run] if the job was stopped at a turn boundary. The journal is complete up to that
// turn. The caller should release the lease.
var ErrStopped = errors.New("agent stopped at a turn boundary")

// Model makes model calls. [backend.Backend] implements it.
type Model interface {
	Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error)
}

// Slots hands out permits for one model request in flight each.
type Slots interface {
	// Acquire waits for a slot. The job with the fewest turns remaining goes first. The error wraps context.Cause(ctx).
	Acquire(ctx context.Context, turnsRemaining int) (release func(), err error)
}

// Tools runs tool calls. [toolpool.Pool] implements it.
type Tools interface {
	// Call returns an error only if ctx is done, or for a tool with side effects that must not run.
	Call(ctx context.Context, c toolpool.Call) (toolpool.Result, error)
}

// Job is one attempt at a job.
type Job struct {
	ID      batch.Job
	Attempt int
	Payload []byte        // JSON of spec.Payload
	Journal [][]byte      // turns of earlier attempts, oldest first
	Queued  time.Duration // before the attempt; copied to Times of the result

	// Logger logs the events of the job. It must already name the job. Defaults to the runner's logger with job and attempt
	// added.
	Logger *slog.Logger
	// Append writes turn number turn (1-based) to the journal. It returns an error only if nothing more may be written: the
	// lease is fenced or ctx is done.
	Append func(ctx context.Context, turn int, data []byte) error
	// Effects is the job's ledger. With nil, an effect may happen twice after a takeover.
	Effects Effects
	// Results returns the results that the job reduces, ordered by index. Only jobs that reduce need it. Every call returns
	// the same results. A *batch.Error fails the job; any other error ends the attempt without a result.
	Results func(ctx context.Context) iter.Seq2[batch.Result, error]
	// Budget is the batch's budget. Nil limits nothing.
	Budget Budget
	// Stop, when closed, ends the agent at its next turn boundary. Nil never stops it.
	Stop <-chan struct{}
	// OnState is called on the agent's goroutine for every state change. Nil is skipped.
	OnState func(from, to batch.State)
	// OnTurn is called when turn number number of the conversation (1-based) begins. The turn's waits and calls run under
	// contexts returned by with. ended is called with the error that ended the job's attempt, or nil if the job has a next
	// turn or an answer. A job that reduces may call OnTurn from several goroutines. Nil is skipped.
	OnTurn func(ctx context.Context, number int) (with func(context.Context) context.Context, ended func(error))
}

// Turn is one entry of a job's journal: the messages that one turn added to the conversation. Its JSON form is stored in
// Redis.
type Turn struct {
	Assistant backend.Message   `json:"assistant"`
	Tools     []backend.Message `json:"tools,omitempty"`   // results, in the order of Assistant.ToolCalls
	Sources   []CallSource      `json:"sources,omitempty"` // of Tools, in the same order
	Repair    string            `json:"repair,omitempty"`  // the user message that requests a valid answer
	Usage     batch.Usage       `json:"usage"`
	Counts    batch.ToolCounts  `json:"counts"`
	Model     string            `json:"model"`
	LeftOut   []string          `json:"left_out,omitempty"` // as in [batch.Result], up to this turn
	Part      *Part             `json:"part,omitempty"`     // set if the job reduces: the turn answers a part of the results
}

// CallSource is the origin of a tool call's result.
type CallSource struct {
	From toolpool.Source `json:"from,omitempty"` // "" if the call was refused before it ran
	By   string          `json:"by,omitempty"`   // the process that ran it, if it was another one
}

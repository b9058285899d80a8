package agent

import (
	"errors"
	"log/slog"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// ErrStopped is returned by [Runner.Run] if the job was stopped at a turn boundary. The journal is complete up to that
// turn. The caller should release the lease.
var ErrStopped = errors.New("agent stopped at a turn boundary")

// Job is one attempt at a job.
type Job struct {
	ID      batch.Job
	Attempt int
	Payload []byte        // JSON of spec.Payload
	Turns   [][]byte      // of earlier attempts, oldest first; as written to the journal
	Queued  time.Duration // before the attempt; copied to Times of the result

	// Logger logs the events of the job. It must already name the job. Defaults to the runner's logger with job and attempt
	// added.
	Logger *slog.Logger
	// Stop, when closed, ends the agent at its next turn boundary. Nil never stops it.
	Stop <-chan struct{}
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
	LeftOut   []string          `json:"left_out,omitempty"`  // as in [batch.Result], up to this turn
	Preloaded []Preloaded       `json:"preloaded,omitempty"` // calls before the first turn; only in the first turn
	Part      *Part             `json:"part,omitempty"`      // set if the job reduces: the turn answers a part of the results
	Call      *ProgramCall      `json:"call,omitempty"`      // set if a program is the agent: the turn is one of its calls
}

// CallSource is the origin of a tool call's result.
type CallSource struct {
	From toolpool.Source `json:"from,omitempty"` // "" if the call was refused before it ran
	By   string          `json:"by,omitempty"`   // the process that ran it, if it was another one
}

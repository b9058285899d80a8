package batch

import (
	"fmt"
	"time"
)

// Phase is the progress of a whole batch. [Condition] is the state that users see.
type Phase string

// The phases of a batch.
const (
	Open       Phase = "OPEN"       // inputs are still being fed, or planned; jobs already run
	Sealed     Phase = "SEALED"     // all inputs are in; jobs are running or waiting
	Cancelling Phase = "CANCELLING" // cancelled; jobs without a result are being given a cancelled one
	Done       Phase = "DONE"       // every job has a result
)

// Terminal reports whether every job has a result. Only a retry of failed jobs leaves this phase.
func (p Phase) Terminal() bool { return p == Done }

// Header is the part of a batch from which a worker decides whether to claim, without reading the compiled spec.
type Header struct {
	ID          ID            `json:"id"`
	Name        string        `json:"name"`
	Owner       string        `json:"owner"`               // owners get equal shares of a worker's jobs
	Priority    int           `json:"priority"`            // higher first
	Model       string        `json:"model"`               // "" uses the model that the server serves
	AnyModel    bool          `json:"any_model,omitempty"` // jobs may use different models; otherwise the first model that answers binds the batch
	Tools       []string      `json:"tools"`               // names; only workers that have all of them claim
	MaxAttempts int           `json:"max_attempts"`        // at least 1
	TTL         time.Duration `json:"ttl"`                 // how long Redis keeps the batch after it is done
	Budget      Budget        `json:"budget,omitzero"`     // of the whole batch
	Prices      Prices        `json:"prices,omitzero"`     // for the costs; zero if unknown
	Reduce      bool          `json:"reduce,omitempty"`    // it has [StageReduce]
	Plan        bool          `json:"plan,omitempty"`      // it has [StagePlan]
	Sorted      bool          `json:"sorted,omitempty"`    // its jobs were fed in another order than that of their indexes
}

// Counts are the totals of a batch so far. Waiting + Running + OK + Failed + Cancelled = Fed.
type Counts struct {
	Fed       int64      `json:"fed"`     // jobs added so far
	Total     int64      `json:"total"`   // -1 until sealed
	Waiting   int64      `json:"waiting"` // in the stream, no lease
	Running   int64      `json:"running"` // leased
	OK        int64      `json:"ok"`
	Failed    int64      `json:"failed"`
	Cancelled int64      `json:"cancelled"`
	Takeovers int64      `json:"takeovers"` // expired leases that another worker claimed
	Turns     int64      `json:"turns"`
	Usage     Usage      `json:"usage"`
	Tools     ToolCounts `json:"tools"`
}

// Finished returns how many jobs have a result.
func (c Counts) Finished() int64 { return c.OK + c.Failed + c.Cancelled }

// Info is everything that `status` shows of a batch.
type Info struct {
	Header
	Phase  Phase `json:"phase"`
	Paused bool  `json:"paused,omitempty"` // the budget is used up: no model call starts until it is raised
	// Used counts against the budget and includes the stages of the batch. USD is 0 without prices.
	Used Budget `json:"used,omitzero"`
	// Reserved is the part of the budget that the model calls in flight may still use.
	Reserved Budget   `json:"reserved,omitzero"`
	Counts   Counts   `json:"counts"`
	Models   []string `json:"models,omitempty"` // models that answered, at most 16
	// Bound is the model that answered first. Workers with other models skip the batch. Empty before the first answer, and with
	// AnyModel.
	Bound     string    `json:"bound_model,omitempty"`
	CreatedAt time.Time `json:"created_at"`          // Redis' clock
	DoneAt    time.Time `json:"done_at,omitzero"`    // Redis' clock; zero unless done
	ExpiresAt time.Time `json:"expires_at,omitzero"` // when the TTL removes it; zero unless done
}

// ToolUse counts the calls of one tool on a worker since the worker started.
type ToolUse struct {
	Asked    int64   `json:"asked"`
	Executed int64   `json:"executed"` // executions that started, repeats included
	Shared   int64   `json:"shared"`   // calls that joined a running execution, here or on another worker
	Cached   int64   `json:"cached"`   // calls answered with a stored result
	Failed   int64   `json:"failed"`
	Finished int64   `json:"finished"` // executions that ended
	Seconds  float64 `json:"seconds"`  // total time of the finished executions
}

// Add adds the counts of another worker.
func (u *ToolUse) Add(o ToolUse) {
	u.Asked += o.Asked
	u.Executed += o.Executed
	u.Shared += o.Shared
	u.Cached += o.Cached
	u.Failed += o.Failed
	u.Finished += o.Finished
	u.Seconds += o.Seconds
}

// Saved estimates the time saved by calls that did not execute the tool, in seconds. It takes the mean time of an execution for
// each.
func (u ToolUse) Saved() float64 {
	if u.Finished == 0 {
		return 0
	}
	return float64(u.Shared+u.Cached) * u.Seconds / float64(u.Finished)
}

// ToolSharing sets which calls may share one execution of a tool.
type ToolSharing struct {
	Share string        `json:"share"`         // pure, ttl, inflight or effect, see docs/tools.md
	TTL   time.Duration `json:"ttl,omitempty"` // lifetime of a shared result; only for ttl
}

// Pause is the reason why a worker starts no model calls.
type Pause struct {
	Model  string    `json:"model,omitempty"` // "" means every model
	Kind   string    `json:"kind"`            // a class of package backend, or "unreachable"
	Reason string    `json:"reason"`          // such as: server answers 402 "Insufficient credits"
	Since  time.Time `json:"since"`           // the worker's clock
	// Misconfigured: the server never answered a call, and it refuses the key, the account or the model.
	Misconfigured bool `json:"misconfigured,omitempty"`
}

// String returns the pause in the form that users see.
func (p Pause) String() string {
	return fmt.Sprintf("paused: %s since %s", p.Reason, p.Since.Local().Format("15:04"))
}

// WorkerRecord is the data that a worker sends with every heartbeat.
type WorkerRecord struct {
	ID       string   `json:"id"`       // the --id flag
	Consumer string   `json:"consumer"` // unique for every start of the process
	Version  string   `json:"version"`
	Host     string   `json:"host"`
	Endpoint string   `json:"endpoint"` // the backend's URL, without credentials
	Models   []string `json:"models"`   // names of the models that the backend serves
	Tools    []string `json:"tools"`
	// Sharing is the widest sharing of results that the operator allows, by the name of the tool in Tools.
	Sharing map[string]ToolSharing `json:"sharing,omitempty"`
	// ToolUse counts the calls of each tool that was called, by its name in Tools.
	ToolUse    map[string]ToolUse `json:"tool_use,omitempty"`
	Ready      bool               `json:"ready"` // the backend answers, and the worker claims jobs
	Pauses     []Pause            `json:"pauses,omitempty"`
	Draining   bool               `json:"draining"`    // the worker claims no more jobs
	LiveAgents int                `json:"live_agents"` // agents that run or wait
	MaxAgents  int                `json:"max_agents"`  // limit of live agents
	// AgentAge is the mean age of the live agents, in seconds. The store adds the age of the record when it reads it. AgentLife is how old
	// agents became lately; 0 before the first one ended.
	AgentAge     float64   `json:"agent_age_s"`
	AgentLife    float64   `json:"agent_life_s"`
	SlotsInUse   int       `json:"slots_in_use"`
	Slots        int       `json:"slots"`
	SlotQueue    int       `json:"slot_queue"`         // agents waiting for a slot
	KVHeld       int64     `json:"kv_held_tokens"`     // part of the server's KV cache that the live agents hold
	KVCapacity   int64     `json:"kv_capacity_tokens"` // 0 if the server does not report it
	JobsDone     int64     `json:"jobs_done"`          // results committed by this process
	Turns        int64     `json:"turns"`
	Usage        Usage     `json:"usage"`
	TokensPerSec float64   `json:"tokens_per_sec"` // generated, over the last heartbeat
	StartedAt    time.Time `json:"started_at"`     // the worker's clock
	SeenAt       time.Time `json:"seen_at"`        // Redis' clock, set by the store
	DueAt        time.Time `json:"due_at"`         // Redis' clock, set by the store; the worker is lost if no heartbeat arrives by then
	Lost         bool      `json:"lost"`           // set by the store when it reads the record
	// State and StateReason are set by the store when the record is read, see [StateOf].
	State       WorkerState `json:"state,omitempty"`
	StateReason string      `json:"state_reason,omitempty"`
}

package batch

import (
	"fmt"
	"time"
)

// Phase is where a whole batch stands.
type Phase string

// The phases of a batch.
const (
	Open       Phase = "OPEN"       // inputs are still being fed, or planned; jobs already run
	Sealed     Phase = "SEALED"     // all inputs are in; jobs are running or waiting
	Cancelling Phase = "CANCELLING" // cancelled; jobs that have no result yet are being given one
	Done       Phase = "DONE"       // every job has a result
)

// Terminal reports whether no more results will come, unless somebody retries failed jobs.
func (p Phase) Terminal() bool { return p == Done }

// Header is what workers need to know to decide whether to claim from a batch, without reading its plan.
type Header struct {
	ID          ID            `json:"id"`
	Name        string        `json:"name"`
	Owner       string        `json:"owner"`
	Priority    int           `json:"priority"` // higher first
	Model       string        `json:"model"`    // "" takes the server's own
	AnyModel    bool          `json:"any_model,omitempty"`
	Tools       []string      `json:"tools"`           // names; a worker that lacks one does not claim
	MaxAttempts int           `json:"max_attempts"`    // at least 1
	TTL         time.Duration `json:"ttl"`             // how long everything is kept after the batch is done
	Budget      Budget        `json:"budget,omitzero"` // of the whole batch
	Prices      Prices        `json:"prices,omitzero"`
	Reduce      bool          `json:"reduce,omitempty"` // its results are reduced by the batch [ID.Reducer]
	Plan        bool          `json:"plan,omitempty"`   // its jobs come from the batch [ID.Planner]
	Sorted      bool          `json:"sorted,omitempty"` // its jobs were fed in another order than that of their indexes
}

// Counts are a batch's totals so far. Waiting + Running + OK + Failed + Cancelled = Fed.
type Counts struct {
	Fed       int64      `json:"fed"`
	Total     int64      `json:"total"`   // -1 until sealed
	Waiting   int64      `json:"waiting"` // in the stream, no lease
	Running   int64      `json:"running"` // leased
	OK        int64      `json:"ok"`
	Failed    int64      `json:"failed"`
	Cancelled int64      `json:"cancelled"`
	Takeovers int64      `json:"takeovers"` // leases that lapsed and were claimed by somebody else
	Turns     int64      `json:"turns"`
	Usage     Usage      `json:"usage"`
	Tools     ToolCounts `json:"tools"`
}

// Finished is how many jobs have a result.
func (c Counts) Finished() int64 { return c.OK + c.Failed + c.Cancelled }

// Info is a batch as `status` shows it.
type Info struct {
	Header
	Phase  Phase `json:"phase"`
	Paused bool  `json:"paused,omitempty"` // its budget is used up: no model call begins until that is raised
	// Used is what counts against the budget, the stages of the batch included. USD is 0 without prices.
	Used Budget `json:"used,omitzero"`
	// Reserved is what the model calls in flight may use of the budget.
	Reserved Budget   `json:"reserved,omitzero"`
	Counts   Counts   `json:"counts"`
	Models   []string `json:"models,omitempty"` // that answered, the first 16
	// Bound is the model that answered first. Workers with other models leave the batch alone. "" before the first answer, or with
	// AnyModel.
	Bound     string    `json:"bound_model,omitempty"`
	CreatedAt time.Time `json:"created_at"`          // Redis' clock
	DoneAt    time.Time `json:"done_at,omitzero"`    // Redis' clock; zero unless done
	ExpiresAt time.Time `json:"expires_at,omitzero"` // when the TTL removes it; zero unless done
}

// ToolUse is what a tool did on a worker since that started.
type ToolUse struct {
	Asked    int64   `json:"asked"`
	Executed int64   `json:"executed"` // executions that began, repeats included
	Shared   int64   `json:"shared"`   // calls that joined an execution under way, here or on another worker
	Cached   int64   `json:"cached"`   // calls whose result was there
	Failed   int64   `json:"failed"`
	Finished int64   `json:"finished"` // executions that ended
	Seconds  float64 `json:"seconds"`  // inside the tool, over those
}

// Add adds another worker's.
func (u *ToolUse) Add(o ToolUse) {
	u.Asked += o.Asked
	u.Executed += o.Executed
	u.Shared += o.Shared
	u.Cached += o.Cached
	u.Failed += o.Failed
	u.Finished += o.Finished
	u.Seconds += o.Seconds
}

// Saved is about how long, in seconds, the calls would have taken that ran nothing: as long as an execution did on average.
func (u ToolUse) Saved() float64 {
	if u.Finished == 0 {
		return 0
	}
	return float64(u.Shared+u.Cached) * u.Seconds / float64(u.Finished)
}

// ToolSharing says who may share one execution of a tool.
type ToolSharing struct {
	Share string        `json:"share"` // pure, ttl, inflight or effect, see docs/tools.md
	TTL   time.Duration `json:"ttl,omitempty"`
}

// Pause is why a worker starts no model calls.
type Pause struct {
	Model  string    `json:"model,omitempty"` // "" means every model
	Kind   string    `json:"kind"`            // a class of package backend, or "unreachable"
	Reason string    `json:"reason"`          // such as: server answers 402 "Insufficient credits"
	Since  time.Time `json:"since"`           // the worker's clock
	// Misconfigured: no call was ever answered, and the server refuses the key, the account or the model.
	Misconfigured bool `json:"misconfigured,omitempty"`
}

// String returns the pause as users see it.
func (p Pause) String() string {
	return fmt.Sprintf("paused: %s since %s", p.Reason, p.Since.Local().Format("15:04"))
}

// WorkerRecord is what a worker says of itself with every heartbeat.
type WorkerRecord struct {
	ID       string   `json:"id"`       // the --id flag
	Consumer string   `json:"consumer"` // unique for every start of the process
	Version  string   `json:"version"`
	Host     string   `json:"host"`
	Endpoint string   `json:"endpoint"` // the backend's URL, without credentials
	Models   []string `json:"models"`
	Tools    []string `json:"tools"`
	// Sharing is the widest sharing of results that the operator allows, by the tool's name in Tools.
	Sharing map[string]ToolSharing `json:"sharing,omitempty"`
	// ToolUse tells of the tools that were called, by name in Tools.
	ToolUse      map[string]ToolUse `json:"tool_use,omitempty"`
	Ready        bool               `json:"ready"` // the backend answers; jobs are claimed
	Pauses       []Pause            `json:"pauses,omitempty"`
	Draining     bool               `json:"draining"` // no more jobs are claimed
	LiveAgents   int                `json:"live_agents"`
	MaxAgents    int                `json:"max_agents"`
	SlotsInUse   int                `json:"slots_in_use"`
	Slots        int                `json:"slots"`
	SlotQueue    int                `json:"slot_queue"`         // agents waiting for a slot
	KVHeld       int64              `json:"kv_held_tokens"`     // of the server's KV cache, by the live agents
	KVCapacity   int64              `json:"kv_capacity_tokens"` // 0 if the server does not tell it
	JobsDone     int64              `json:"jobs_done"`
	Turns        int64              `json:"turns"`
	Usage        Usage              `json:"usage"`
	TokensPerSec float64            `json:"tokens_per_sec"` // generated, over the last heartbeat
	StartedAt    time.Time          `json:"started_at"`     // the worker's clock
	SeenAt       time.Time          `json:"seen_at"`        // Redis' clock, set by the store
	DueAt        time.Time          `json:"due_at"`         // Redis' clock, set by the store; without a heartbeat until then the worker is lost
	Lost         bool               `json:"lost"`           // set by the store when the record is read
}

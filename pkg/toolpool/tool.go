package toolpool

import (
	"context"
	"encoding/json"
	"time"
)

// Tool is one tool that agents can call. It must not change after its registration.
type Tool struct {
	Name        string
	Description string          // for the model
	Parameters  json.RawMessage // JSON Schema of an object; arguments are checked against it before Run
	// Version is part of the sharing key in every process of the cluster. It changes when results change. It also
	// separates tools with the same name that use different services, folders or databases.
	Version  string
	Share    Share         // Defaults to Inflight.
	TTL      time.Duration // for ForTTL
	Timeout  time.Duration // Of one execution, retries included. Defaults to the caller's.
	MaxBytes int           // Of one result; a longer one is cut and gets a note. Defaults to 64 KiB.
	// MaxTokens limits one result by an estimate of its tokens. 0 is no limit. A call may set a lower limit.
	MaxTokens int

	Limit Limit
	// OnUnknown is the policy for an Effect call whose outcome is unknown. Defaults to FailJob.
	OnUnknown OnUnknown

	// Key returns further inputs of the result beside the arguments, such as a file's mtime and size. The sharing key
	// includes it. A result is cached only if Key returns the same value before and after the execution. Optional.
	Key func(ctx context.Context, args json.RawMessage) (string, error)

	// Run executes one call. Its error becomes a result for the model, so it must contain no secret. The pool first
	// retries an error made with [Transient]. Run returns soon after ctx is done. In a tool with Share Effect,
	// [IdempotencyKey] returns the call's key.
	Run func(ctx context.Context, args json.RawMessage) (string, error)
}

// Limit limits the executions of a tool. Calls that share a result cost nothing. The zero value is no limit.
type Limit struct {
	PerSecond   float64 // executions that start per second, in the whole cluster; 0 is no limit
	Burst       int     // Starts at once after a quiet time. Defaults to PerSecond, and at least 1.
	Concurrency int     // simultaneous executions in this process; 0 is no limit
}

// Call is one tool call of one agent.
type Call struct {
	Name      string
	Arguments string        // JSON as the model wrote it
	Timeout   time.Duration // used for a tool without one; 0 means 60 s

	// Share and TTL narrow the tool's own sharing; "" and 0 keep it. A wider window is ignored, see [Narrow].
	Share     Share
	TTL       time.Duration
	MaxTokens int // lowers the tool's own limit; 0 keeps it

	// TurnsRemaining orders calls that wait for a limit: agents with the fewest remaining turns go first. 0 is unknown.
	TurnsRemaining int

	// EffectLog is the job's effect log, for tools with Share Effect. Turn and Index identify the call within the job.
	// Without it nothing is recorded.
	EffectLog EffectLog
	Turn      int // 1-based
	Index     int // within the turn
}

// Result is the outcome of a call, as the model will read it.
type Result struct {
	Content  string // never empty: servers drop an empty tool message
	Failed   bool   // Content describes a failure
	Executed bool   // this call ran the tool; false if it shared another's execution or never ran
	Source   Source
	By       string // name in the cluster of the process that ran it, for [FromCluster]
}

// Source is where a result comes from.
type Source string

// The sources. "" is a call that was refused before any execution.
const (
	FromTool      Source = "executed" // this call ran the tool
	FromProcess   Source = "process"  // it joined a running call of this process
	FromCluster   Source = "cluster"  // it waited for an execution by another process
	FromCache     Source = "cache"    // the result was stored, here or in the cluster
	FromEffectLog Source = "ledger"   // an earlier attempt of the job had run the call
)

package toolpool

import (
	"context"
	"encoding/json"
	"time"
)

// Tool is one tool that agents can call. It must not change after it was registered.
type Tool struct {
	Name        string
	Description string          // what the model reads
	Parameters  json.RawMessage // JSON Schema of an object; arguments are checked against it before Run
	// Version is part of the sharing key, in every process of the cluster. It changes when results change, and tells
	// apart tools of one name that ask different services, folders or databases.
	Version  string
	Share    Share         // Defaults to Inflight.
	TTL      time.Duration // for ForTTL
	Timeout  time.Duration // of one execution, repeats included. Defaults to the caller's.
	MaxBytes int           // of one result; longer ones are cut, saying so. Defaults to 64 KiB.
	// MaxTokens cuts what a model reads of one result, by an estimate. 0 does not cut. A call may ask for less.
	MaxTokens int

	Limit Limit
	// OnUnknown is for Effect: what to do about a call of which nobody knows whether it had its effect. Defaults to
	// FailJob.
	OnUnknown OnUnknown

	// Key adds to the sharing key what the arguments do not show, such as a file's mtime and size. A result is kept
	// only if Key says the same before and after the execution. Optional.
	Key func(ctx context.Context, args json.RawMessage) (string, error)

	// Run executes one call. Its error becomes a result that the model reads, so it must name no secret; one made with
	// [Transient] is tried again first. It returns soon after ctx is done. For Effect, [IdempotencyKey] names the call.
	Run func(ctx context.Context, args json.RawMessage) (string, error)
}

// Limit bounds the executions of a tool. Calls that share a result cost nothing. The zero value does not limit.
type Limit struct {
	PerSecond   float64 // executions that start per second, in the whole cluster; 0 does not limit
	Burst       int     // that may start at once after a quiet time. Defaults to PerSecond, and at least 1.
	Concurrency int     // executions at a time in this process; 0 does not limit
}

// Call is one tool call of one agent.
type Call struct {
	Name      string
	Arguments string        // JSON as the model wrote it
	Timeout   time.Duration // used when the tool has none; 0 means 60 s

	// Share and TTL narrow the tool's own sharing; "" leaves it. What would widen it is ignored, see [Narrow].
	Share     Share
	TTL       time.Duration
	MaxTokens int // narrows the tool's own; 0 leaves it

	// TurnsRemaining orders calls that wait for a limit: agents that are nearly finished go first. 0 is unknown.
	TurnsRemaining int

	// Ledger is the job's, for tools with Share Effect; Turn and Index say which call of the job this is. Without a
	// ledger nothing is written down.
	Ledger Ledger
	Turn   int // 1-based
	Index  int // within the turn
}

// Result is the outcome of a call, as the model will read it.
type Result struct {
	Content  string // never empty: servers drop an empty tool message
	Failed   bool   // Content says what went wrong
	Executed bool   // this call ran the tool; false if it shared another's execution or never ran
	Source   Source
	By       string // the process that ran it, as it is called in the cluster, for [FromCluster]
}

// Source says where a result is from.
type Source string

// The sources. "" is a call that was refused before anything ran.
const (
	FromTool    Source = "executed" // this call ran the tool
	FromProcess Source = "process"  // it joined a call of this process that was under way
	FromCluster Source = "cluster"  // it waited for an execution by another process
	FromCache   Source = "cache"    // the result was there, here or in the cluster
	FromLedger  Source = "ledger"   // an earlier attempt of the job had run the call
)

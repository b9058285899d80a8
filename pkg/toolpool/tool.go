package toolpool

import (
	"context"
	"encoding/json"
	"time"
)

// Share is a tool's own declaration of who may share one execution of a call.
type Share string

// The sharing windows.
const (
	Pure     Share = "pure"     // same arguments, same result, for ever: cache freely
	ForTTL   Share = "ttl"      // a result may be reused for Tool.TTL
	Inflight Share = "inflight" // only callers that overlap in time share
	Effect   Share = "effect"   // has side effects: never shared, never repeated blindly
)

// Tool is one tool that agents can call. It must not change after it was registered.
type Tool struct {
	Name        string
	Description string          // what the model reads
	Parameters  json.RawMessage // JSON Schema of an object; arguments are checked against it before Run
	Version     string          // part of the sharing key; change it when results change
	Share       Share           // Defaults to Inflight.
	TTL         time.Duration   // for ForTTL
	Timeout     time.Duration   // of one execution. Defaults to the caller's.
	MaxBytes    int             // of one result; longer ones are cut, saying so. Defaults to 64 KiB.

	// Key adds to the sharing key what the arguments do not show, such as a file's mtime and size. Optional.
	Key func(ctx context.Context, args json.RawMessage) (string, error)

	// Run executes one call. Its error becomes a result that the model reads, so it must name no secret. It returns
	// soon after ctx is done.
	Run func(ctx context.Context, args json.RawMessage) (string, error)
}

// Call is one tool call of one agent.
type Call struct {
	Name      string
	Arguments string        // JSON as the model wrote it
	Timeout   time.Duration // used when the tool has none; 0 means 60 s
}

// Result is the outcome of a call, as the model will read it.
type Result struct {
	Content  string // never empty: servers drop an empty tool message
	Failed   bool   // Content says what went wrong
	Executed bool   // this call ran the tool; false if it shared another's execution or never ran
}

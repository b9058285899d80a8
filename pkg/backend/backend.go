package backend

import (
	"context"
	"encoding/json"
	"time"
)

// Backend is one endpoint of an inference server. It is safe for concurrent use.
//
// Optional abilities are separate interfaces, found by type assertion: [TokenCounter], [LoadReporter].
type Backend interface {
	// Generate runs one model call, always as a stream, and returns when the stream has ended. Cancelling ctx closes
	// the connection, which makes the server drop the request. It never retries. Errors are *[Error]; a cancelled
	// ctx returns an error that wraps context.Cause(ctx).
	Generate(ctx context.Context, r *Request, o Observer) (*Response, error)

	// Models lists the models of the endpoint. The first is the default. The list is empty if the server has no list: then
	// each request must name its model.
	Models(ctx context.Context) ([]Model, error)

	// Ready returns nil if the endpoint takes requests now. It is cheap: no token is generated.
	Ready(ctx context.Context) error

	// Capabilities says what the adapter can do, without asking the server.
	Capabilities() Capabilities

	// Endpoint is the URL without credentials, as logs and pages show it.
	Endpoint() string

	// Close frees idle connections. Calls in flight are not waited for.
	Close() error
}

// TokenCounter counts the tokens of a request's prompt exactly as the server's chat template would make them.
type TokenCounter interface {
	CountTokens(ctx context.Context, r *Request) (int, error)
}

// LoadReporter reads the server's own view of its load.
type LoadReporter interface {
	Load(ctx context.Context) (Load, error)
}

// Load is a server's state as its metrics tell it. A negative field is one that the server does not report.
type Load struct {
	Running          int     // requests in the running batch
	Waiting          int     // requests in the server's queue
	KVUsage          float64 // 0..1
	KVCapacityTokens int     // the whole KV cache
	PromptTokens     int64   // counter
	CachedTokens     int64   // counter; part of PromptTokens
	GeneratedTokens  int64   // counter
	Preemptions      int64   // counter
}

// Model is one served model.
type Model struct {
	ID          string
	MaxModelLen int  // tokens of context; 0 if the server does not tell
	Simulated   bool // answers come from the simulated server
}

// Is reports whether the model has a name. Ollama lists a model "m" as "m:latest".
func (m Model) Is(name string) bool { return m.ID == name || m.ID == name+":latest" }

// Capabilities is an adapter's own declaration.
type Capabilities struct {
	Name             string // "vllm", …
	PrefixCache      bool   // equal prompt prefixes are reused between requests
	PrefixPinned     bool   // the adapter marks the shared prefix for the cache; others warm it by use
	PrefixLate       bool   // a prefix can be reused only once a request that brought it has begun to be answered
	CachedUsage      bool   // usage tells cached tokens (the server may need a flag)
	StructuredOutput bool   // a response schema can be enforced
	Priority         bool   // requests can carry a priority
	MaxConcurrent    int    // a safe default for requests in flight
	// StartConcurrent is how many requests may be in flight at first, where the limit is the account's and has to be
	// found: it then follows success and throttling, up to MaxConcurrent. 0 means no such search.
	StartConcurrent int
}

// Observer is told of a stream's progress while Generate runs, on Generate's own goroutine. Nil fields are skipped.
// A callback must not block.
type Observer struct {
	// FirstToken is called once, at the first content, reasoning or tool-call delta.
	FirstToken func()
	// ToolCall is called for each tool call when its arguments are complete, perhaps long before the stream ends.
	// The turn may still end with [FinishLength], and then the call must be thrown away.
	ToolCall func(index int, c ToolCall)
}

// Request is one model call. The adapter does not change or keep it.
type Request struct {
	ID         string // for the server's log: "<batch>/job-3#2"
	Model      string // "" takes the server's first
	Messages   []Message
	Tools      []Tool
	ToolChoice ToolChoice // ignored without Tools
	Schema     *Schema    // nil for free text. Never together with Tools unless ToolChoice is ToolChoiceNone
	Sampling   Sampling
	Hints      Hints
	// SilenceTimeout bounds the wait between two events of the stream, and is not the time to the headers, which
	// includes the server's queue. 0 means 2 minutes.
	SilenceTimeout time.Duration
}

// Sampling is passed through as far as the server knows it. Nil and 0 leave the server's default.
type Sampling struct {
	Temperature *float64 `json:"temperature,omitempty"`
	TopP        *float64 `json:"top_p,omitempty"`
	MaxTokens   int      `json:"max_tokens,omitempty"` // completion tokens of one model call
	Seed        *int64   `json:"seed,omitempty"`
	Stop        []string `json:"stop,omitempty"` // at most 4
	// ExtraBody are further fields of the request's body, by their names at the server, such as top_k, cache_salt or
	// chat_template_kwargs. They are sent as they are, and the server may refuse them. None may be a field that an adapter
	// sets itself.
	ExtraBody map[string]json.RawMessage `json:"extra_body,omitempty"`
}

// Hints are wishes; a server that does not know them ignores them.
type Hints struct {
	Priority int    // higher is sooner; the adapter turns it into the server's sign
	Session  string // the same for all turns of one agent
	// OutputTokens is how long the answer is expected to be, 0 if nothing is known. It is no limit; that is Sampling.MaxTokens.
	OutputTokens int
	// BackIn is how soon after this answer the agent's next call is expected, from what its tools take; 0 if that is not known, or
	// no further call is likely. A server may keep or prepare what the agent will need when it is short, and let it go when it is long.
	BackIn time.Duration
}

// Schema is a JSON Schema that the answer must match.
type Schema struct {
	Name  string
	JSON  []byte
	Loose bool // the server may treat it as a hint
}

// ToolChoice says whether the model may, must, or must not call tools.
type ToolChoice string

// The tool choices.
const (
	ToolChoiceAuto ToolChoice = "auto"
	ToolChoiceNone ToolChoice = "none"
	// ToolChoiceRequired makes the server write a call, whatever the model would have said. The arguments are bound to the
	// schema of a strict tool only.
	ToolChoiceRequired ToolChoice = "required"
)

// Tool is a tool as the model sees it.
type Tool struct {
	Name        string
	Description string
	Parameters  []byte // JSON Schema of an object
	Strict      bool   // ask the server to bind arguments to Parameters
}

// FinishReason is why a model call ended.
type FinishReason string

// The finish reasons, normalised over servers.
const (
	FinishStop      FinishReason = "stop"
	FinishToolCalls FinishReason = "tool_calls" // also when the server said "stop" but tool calls are there
	FinishLength    FinishReason = "length"
	FinishRefused   FinishReason = "refused" // content filter
)

// Response is one ended model call.
type Response struct {
	Message  Message // role assistant
	Finish   FinishReason
	Usage    Usage
	Model    string        // as the server named it
	TTFT     time.Duration // from sending the request to the first delta; 0 if there was none
	Duration time.Duration
	Headroom *Headroom // nil if the server does not tell its rate limits
	Refusal  string    // the model's own words for FinishRefused; "" if a filter refused
	// LeftOut names the sampling fields that the user set and the server does not take, such as "temperature" or "seed". The
	// call was made without them. Nil if every field was sent.
	LeftOut []string
}

// Headroom is what is left of the tightest of an account's rate limits.
type Headroom struct {
	Left  float64       // 0..1
	Reset time.Duration // until the limit is whole again
}

// Usage counts the tokens of one model call.
type Usage struct {
	PromptTokens     int64
	CachedTokens     int64 // -1 if the server does not report it
	CompletionTokens int64 // reasoning included
	// Estimated: the caller counted tokens that the server did not report.
	Estimated bool `json:",omitempty"`
}

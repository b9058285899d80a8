package backend

import (
	"context"
	"encoding/json"
	"time"
)

// Backend is one endpoint of an inference server. It is safe for concurrent use.
//
// Optional abilities are separate interfaces, found by type assertion: [TokenCounter], [LoadReporter],
// [SessionCloser].
type Backend interface {
	// Generate runs one model call, always as a stream, and returns when the stream has ended. Cancelling ctx closes
	// the connection, so that the server drops the request. Generate never retries. Errors are *[Error]; after a
	// cancelled ctx the error wraps context.Cause(ctx).
	Generate(ctx context.Context, r *Request, o Observer) (*Response, error)

	// Models lists the models of the endpoint. The first is the default. The list is empty if the server has no list:
	// then each request must name its model.
	Models(ctx context.Context) ([]Model, error)

	// Ready returns nil if the endpoint accepts requests now. It is cheap: no token is generated.
	Ready(ctx context.Context) error

	// Capabilities returns the abilities of the adapter, without a request to the server.
	Capabilities() Capabilities

	// Endpoint returns the URL without credentials, for logs and pages.
	Endpoint() string

	// Close closes idle connections. It does not wait for running calls.
	Close() error
}

// TokenCounter counts the tokens of a request's prompt, exactly as the server's chat template produces them.
type TokenCounter interface {
	CountTokens(ctx context.Context, r *Request) (int, error)
}

// LoadReporter reads the server's load as the server reports it.
type LoadReporter interface {
	Load(ctx context.Context) (Load, error)
}

// SessionCloser frees what the server keeps for an agent.
type SessionCloser interface {
	// CloseSession ends the session of an agent that makes no further call here. It does not block. The server may miss it.
	CloseSession(session string)
}

// Load is a server's state from its metrics. A negative field is one that the server does not report.
type Load struct {
	Running          int     // requests in the running batch
	Waiting          int     // requests in the server's queue
	KVUsage          float64 // 0..1
	KVCapacityTokens int     // the whole KV cache
	Preemptions      int64   // counter
	Tier             bool    // a second tier, such as LMCache, keeps what the KV cache evicts
}

// Model is one served model.
type Model struct {
	ID          string
	MaxModelLen int  // tokens of context; 0 if unknown
	Simulated   bool // answers come from the simulated server
}

// Is reports whether name is the model's name. Ollama lists a model "m" as "m:latest".
func (m Model) Is(name string) bool { return m.ID == name || m.ID == name+":latest" }

// Capabilities are the abilities that an adapter declares.
type Capabilities struct {
	Name             string // "vllm", …
	PrefixCache      bool   // equal prompt prefixes are reused between requests
	PrefixPinned     bool   // the adapter marks the shared prefix for the cache; others warm it by use
	PrefixLate       bool   // a prefix can be reused only after a request with it has begun to be answered
	CachedUsage      bool   // usage includes cached tokens (the server may need a flag)
	StructuredOutput bool   // a response schema can be enforced
	Priority         bool   // requests can carry a priority
	MaxConcurrent    int    // a safe default for simultaneous requests
	// StartConcurrent is the number of simultaneous requests to start with, if the limit belongs to the account and is
	// unknown. The number then follows success and throttling, up to MaxConcurrent. 0 means no such search.
	StartConcurrent int
}

// Observer has callbacks for a stream's progress. Generate calls them on its own goroutine. Nil fields are skipped. A
// callback must not block.
type Observer struct {
	// FirstToken is called once, at the first content, reasoning or tool-call delta.
	FirstToken func()
	// ToolCall is called for each tool call when its arguments are complete, perhaps long before the stream ends. The
	// turn may still end with [FinishLength]; then the call must be discarded.
	ToolCall func(index int, c ToolCall)
	// Text is called with pieces of the answer's text. Joined, they are the beginning of the response's Content. The rest of it
	// arrives with the response only, for example a text that may be the start of a secret.
	Text func(piece string)
	// Reasoning is called with pieces of the readable reasoning. Joined, they are the beginning of the response's Reasoning.Text.
	Reasoning func(piece string)
	// ReasoningBlock is called at the end of each block of reasoning, if the protocol has blocks. The pieces before it are the
	// block's text.
	ReasoningBlock func(p Protocol, b ReasoningBlock)
}

// Request is one model call. The adapter neither changes nor keeps it.
type Request struct {
	ID         string // for the server's log: "<batch>/job-3#2"
	Model      string // "" uses the server's first model
	Messages   []Message
	Tools      []Tool
	ToolChoice ToolChoice // ignored without Tools
	MustCall   string     // with ToolChoiceRequired: the name of the only tool that the model may call; "" for any
	OneCall    bool       // the model makes at most one call per turn, if the server can enforce it
	Schema     *Schema    // nil for free text; sent only if [Request.SendsSchema]
	Sampling   Sampling
	Hints      Hints
	// SilenceTimeout limits the wait between two events of the stream. It does not limit the wait for the headers,
	// which includes the server's queue. 0 means 2 minutes.
	SilenceTimeout time.Duration
}

// Sampling holds the sampling parameters, as far as the server supports them. Nil and 0 leave the server's default.
type Sampling struct {
	Temperature *float64 `json:"temperature,omitempty"`
	TopP        *float64 `json:"top_p,omitempty"`
	MaxTokens   int      `json:"max_tokens,omitempty"` // completion tokens of one model call
	Seed        *int64   `json:"seed,omitempty"`
	Stop        []string `json:"stop,omitempty"` // at most 4
	// ExtraBody are further fields of the request's body, by their names at the server, such as top_k, cache_salt or
	// chat_template_kwargs. They are sent unchanged, and the server may refuse them. A field that an adapter sets
	// itself is not allowed.
	ExtraBody map[string]json.RawMessage `json:"extra_body,omitempty"`
}

// Hints are optional; a server ignores hints that it does not support.
type Hints struct {
	Priority int    // higher is sooner; the adapter converts the sign for the server
	Rank     int    // among the calls of this worker with the same priority; lower is sooner
	Session  string // the same for all turns of one agent
	// OutputTokens is the expected length of the answer; 0 if unknown. It is not a limit; the limit is
	// Sampling.MaxTokens.
	OutputTokens int
}

// SendsSchema reports whether an adapter sends the request's schema. It does not if the model may call tools, because many servers
// then drop the calls.
func (r *Request) SendsSchema() bool {
	return r.Schema != nil && (len(r.Tools) == 0 || r.ToolChoice == ToolChoiceNone || r.Schema.BesideTools)
}

// Schema is a JSON Schema that the answer must match.
type Schema struct {
	Name        string
	Description string // for the model; "" if there is none
	JSON        []byte // nil for any JSON object
	Loose       bool   // the server may treat it as a hint
	BesideTools bool   // send it even if the model may call tools: a program asked for both
}

// ToolChoice defines whether the model may, must, or must not call tools.
type ToolChoice string

// The tool choices.
const (
	ToolChoiceAuto ToolChoice = "auto"
	ToolChoiceNone ToolChoice = "none"
	// ToolChoiceRequired makes the server enforce a call. Only a strict tool's arguments are bound to the schema.
	ToolChoiceRequired ToolChoice = "required"
)

// Tool is a tool as sent to the model.
type Tool struct {
	Name        string
	Description string
	Parameters  []byte // JSON Schema of an object
	Strict      bool   // the server must bind arguments to Parameters
}

// FinishReason is why a model call ended.
type FinishReason string

// The finish reasons, the same for all servers.
const (
	FinishStop      FinishReason = "stop"
	FinishToolCalls FinishReason = "tool_calls" // also if the server sent "stop" with tool calls
	FinishLength    FinishReason = "length"
	FinishRefused   FinishReason = "refused" // content filter
)

// Response is one completed model call.
type Response struct {
	Message  Message // role assistant
	Finish   FinishReason
	Usage    Usage
	Model    string        // as returned by the server
	TTFT     time.Duration // from sending the request to the first delta; 0 without deltas
	Duration time.Duration
	Headroom *Headroom // nil if the server does not report its rate limits
	Refusal  string    // the model's explanation for FinishRefused; "" if a filter refused
	// LeftOut names the sampling fields that the user set and the server refuses, such as "temperature" or "seed". They
	// were not sent. Nil if every field was sent.
	LeftOut []string
}

// Headroom is the remainder of the tightest of an account's rate limits.
type Headroom struct {
	Left  float64       // 0..1
	Reset time.Duration // until the limit is full again
}

// Usage counts the tokens of one model call.
type Usage struct {
	PromptTokens     int64
	CachedTokens     int64 // -1 if the server does not report it
	CompletionTokens int64 // including reasoning
	// Estimated is true if the caller counted tokens that the server did not report.
	Estimated bool `json:",omitempty"`
}

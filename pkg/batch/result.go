package batch

import "encoding/json"

// Status is how a job ended.
type Status string

// The statuses of a result.
const (
	OK              Status = "ok"
	StatusFailed    Status = "failed"
	StatusCancelled Status = "cancelled"
)

// State is the terminal job state that a result of this status commits.
func (s Status) State() State {
	switch s {
	case OK:
		return Complete
	case StatusCancelled:
		return Cancelled
	default:
		return Failed
	}
}

// ErrorType is the closed list of reasons why a job has no output. Scripts match on these strings.
type ErrorType string

// The error types. docs/results.md documents each for users.
const (
	BadInput           ErrorType = "BadInput"           // the input line could not be read or rendered
	Oversized          ErrorType = "Oversized"          // the prompt does not fit the model's context
	OutputInvalid      ErrorType = "OutputInvalid"      // the answer cannot be used, also after the repair turn
	OutputTruncated    ErrorType = "OutputTruncated"    // the answer was cut by max_tokens
	TurnsExhausted     ErrorType = "TurnsExhausted"     // max_turns reached without an answer
	Timeout            ErrorType = "Timeout"            // the job's own time limit passed
	BackendRejected    ErrorType = "BackendRejected"    // the server refused the request for good (auth, unknown model, bad request)
	BackendUnavailable ErrorType = "BackendUnavailable" // the server kept failing; retries are used up
	EffectUnknown      ErrorType = "EffectUnknown"      // a tool with side effects may or may not have run
	BudgetExceeded     ErrorType = "BudgetExceeded"     // a token or money limit was reached
	PlanTooLarge       ErrorType = "PlanTooLarge"       // the plan has more items than max_items allows, also after repair
	WorkerLost         ErrorType = "WorkerLost"         // every allowed attempt ended with its worker gone
	JobCancelled       ErrorType = "Cancelled"          // the batch was cancelled before the job ended
)

// ErrorTypes lists every error type.
var ErrorTypes = []ErrorType{
	BadInput, Oversized, OutputInvalid, OutputTruncated, TurnsExhausted, Timeout, BackendRejected,
	BackendUnavailable, EffectUnknown, BudgetExceeded, PlanTooLarge, WorkerLost, JobCancelled,
}

// Retryable reports whether running the job again, unchanged, may succeed. It decides the default of
// [Error.Retryable], and whether `retry` resumes the job's journal (true) or starts it afresh (false).
func (t ErrorType) Retryable() bool {
	switch t {
	case Timeout, BackendUnavailable, WorkerLost:
		return true
	default:
		return false
	}
}

// Error is a failed job's reason, as data. It implements the error interface so that it can travel as one.
type Error struct {
	Type      ErrorType `json:"type"`
	Message   string    `json:"message"` // a sentence for people; never holds a secret (I9)
	Retryable bool      `json:"retryable"`
	Raw       string    `json:"raw,omitempty"` // the model's last text, for OutputInvalid and OutputTruncated; bounded
	// RequestAtFault: the server refused the request repeatedly and answered others in between. Only for BackendRejected.
	RequestAtFault bool `json:"request_at_fault,omitempty"`
}

// Unfinished reports whether the job should run again in a resumed batch: an outage or an interruption failed it, not its own
// request. Earlier versions failed jobs with BackendRejected during outages, and did not set RequestAtFault.
func (e *Error) Unfinished() bool {
	return e.Retryable || e.Type == BackendRejected && !e.RequestAtFault
}

// NewError makes an Error whose Retryable follows its type.
func NewError(t ErrorType, message string) *Error {
	return &Error{Type: t, Message: message, Retryable: t.Retryable()}
}

func (e *Error) Error() string { return string(e.Type) + ": " + e.Message }

// Usage counts tokens over all model calls of a job, those of earlier attempts included as far as they were journalled.
type Usage struct {
	PromptTokens     int64 `json:"prompt_tokens"`
	CachedTokens     int64 `json:"cached_tokens"` // part of PromptTokens that the server took from its prefix cache
	CompletionTokens int64 `json:"completion_tokens"`
	// ContextTokens is how long the conversation got: of all turns of a job the largest prompt with its answer. Over several
	// jobs it is the sum.
	ContextTokens int64 `json:"context_tokens,omitempty"`
	// Estimated: a server reported no usage for at least one call, and its tokens were estimated.
	Estimated bool `json:"estimated,omitempty"`
}

// Add adds another job's usage to u. Turns of one job are added with [Usage.AddTurn].
func (u *Usage) Add(o Usage) {
	u.PromptTokens += o.PromptTokens
	u.CachedTokens += o.CachedTokens
	u.CompletionTokens += o.CompletionTokens
	u.ContextTokens += o.ContextTokens
	u.Estimated = u.Estimated || o.Estimated
}

// AddTurn adds one more model call of the same job to u.
func (u *Usage) AddTurn(t Usage) {
	longest := max(u.ContextTokens, t.PromptTokens+t.CompletionTokens)
	t.ContextTokens = 0
	u.Add(t)
	u.ContextTokens = longest
}

// Sharing is what sharing of prefixes saved the servers: the tokens that their KV caches would have had to take in if every agent had
// held one copy of its own, over those that they took in.
//
//	ContextTokens / (PromptTokens - CachedTokens + CompletionTokens)
//
// The first is each conversation once, at its longest. The second is what was computed, and so written to a cache: a turn's prompt
// less what was there, and its answer. A prefix that n agents share is n times in the first and once in the second, so the ratio is
// above 1. What an agent finds again of its own turns is once in both, and is no sharing. What was evicted and computed again, and a block's
// worth or less of each turn that a cache of whole blocks cannot keep, is in the second alone: where the servers thrash, the ratio
// is below 1, and it never claims more than was saved. A prefix that an earlier batch left in a cache counts as shared.
//
// It is the ratio of "tokens if every agent held its own copy, over tokens held" by which TokenDance reports what sharing
// saves among agents, from nothing but the usage of each answer. 0: not known, because no server told of cached tokens.
func (u Usage) Sharing() float64 {
	computed := u.PromptTokens - u.CachedTokens + u.CompletionTokens
	if u.CachedTokens <= 0 || u.ContextTokens <= 0 || computed <= 0 {
		return 0
	}
	return float64(u.ContextTokens) / float64(computed)
}

// ToolCounts says how many tool calls a job asked for and how many of them ran on its behalf. The difference was
// shared with other jobs or answered from a cache.
type ToolCounts struct {
	Asked    int64 `json:"asked"`
	Executed int64 `json:"executed"`
}

// Add adds o to c.
func (c *ToolCounts) Add(o ToolCounts) {
	c.Asked += o.Asked
	c.Executed += o.Executed
}

// Result is the one committed outcome of a job. Its JSON form is one line of every results file and stream.
type Result struct {
	Batch    ID              `json:"batch"`
	JobID    string          `json:"job_id"`
	Index    int64           `json:"index"`
	Status   Status          `json:"status"`
	Item     json.RawMessage `json:"item,omitempty"` // what the job ran over, if it is item Index of a plan; may lack if it never ran
	Output   json.RawMessage `json:"output"`         // valid JSON; null unless Status is OK
	Error    *Error          `json:"error"`          // nil if Status is OK
	Attempts int             `json:"attempts"`
	Turns    int             `json:"turns"` // model calls that ended with a finish reason, repair turns included
	Usage    Usage           `json:"usage"`
	Tools    ToolCounts      `json:"tools"`
	Model    string          `json:"model"`              // the model that the server named in its answer
	LeftOut  []string        `json:"left_out,omitempty"` // sampling fields of the spec that the model does not take, so that it answered without them; sorted
	Worker   string          `json:"worker"`             // the worker's --id
	WallMS   int64           `json:"wall_ms"`            // from the last claim to the end, milliseconds
	Times    Times           `json:"times_ms,omitzero"`

	// Transcript is the turns of the job's agent, as package agent writes them; only if the batch keeps transcripts.
	Transcript json.RawMessage `json:"transcript,omitempty"`

	// Fingerprint is the same for jobs that ask the same: prompts, output schema, model, sampling but for max_tokens, tools.
	// Only a result whose output may be used again has one.
	Fingerprint string `json:"fingerprint,omitempty"`
	MaxTokens   int    `json:"max_tokens,omitempty"`  // the limit under which the result was made; 0 is none
	ReusedFrom  string `json:"reused_from,omitempty"` // "<batch>/job-<index>" where the output was made, if not by this job

	// Question is a hash of what the job asked of any model: prompts, output schema, sampling but for max_tokens, tools with their
	// versions (I10). Failed results and those of tools with side effects have it too. Empty for reductions, for jobs that were
	// cancelled before a worker had them, and in results of earlier versions.
	Question string `json:"question,omitempty"`
	// RequestModel is the model that was asked for. Empty if it is Model.
	RequestModel string `json:"request_model,omitempty"`
	// Simulated marks a result that the simulated server made.
	Simulated bool `json:"simulated,omitempty"`
}

// AskedModel returns the name of the model that the job asked for. It is empty if that was not recorded.
func (r Result) AskedModel() string {
	if r.RequestModel != "" {
		return r.RequestModel
	}
	return r.Model
}

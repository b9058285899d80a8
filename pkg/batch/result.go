package batch

import "encoding/json"

// Status is the outcome of a job.
type Status string

// The statuses of a result.
const (
	OK              Status = "ok"
	StatusFailed    Status = "failed"
	StatusCancelled Status = "cancelled"
)

// State returns the terminal job state that a result with this status commits.
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
	OutputInvalid      ErrorType = "OutputInvalid"      // the answer cannot be used, nor can the one of the repair turn
	OutputTruncated    ErrorType = "OutputTruncated"    // the answer was cut by max_tokens
	TurnsExhausted     ErrorType = "TurnsExhausted"     // max_turns reached without an answer
	Timeout            ErrorType = "Timeout"            // the job's own time limit passed
	BackendRejected    ErrorType = "BackendRejected"    // the server refused the request for good (auth, unknown model, bad request)
	BackendUnavailable ErrorType = "BackendUnavailable" // the server kept failing; retries are used up
	EffectUnknown      ErrorType = "EffectUnknown"      // a tool with side effects may or may not have run
	BudgetExceeded     ErrorType = "BudgetExceeded"     // a token or money limit was reached
	PlanTooLarge       ErrorType = "PlanTooLarge"       // the plan has more items than max_items, after the repair turn too
	PreloadFailed      ErrorType = "PreloadFailed"      // a call of preload failed
	ProgramFailed      ErrorType = "ProgramFailed"      // the agent's program could not start, or ended with a status other than 0
	WorkerLost         ErrorType = "WorkerLost"         // the worker died in every allowed attempt
	JobCancelled       ErrorType = "Cancelled"          // the batch was cancelled before the job ended
)

// ErrorTypes lists every error type.
var ErrorTypes = []ErrorType{
	BadInput, Oversized, OutputInvalid, OutputTruncated, TurnsExhausted, Timeout, BackendRejected,
	BackendUnavailable, EffectUnknown, BudgetExceeded, PlanTooLarge, PreloadFailed, ProgramFailed, WorkerLost, JobCancelled,
}

// Retryable reports whether running the job again, unchanged, may succeed. It is the default of [Error.Retryable]. It also
// decides whether `retry` resumes the job's journal (true) or restarts the job without it (false).
func (t ErrorType) Retryable() bool {
	switch t {
	case Timeout, BackendUnavailable, WorkerLost, ProgramFailed:
		return true
	default:
		return false
	}
}

// Error is the reason why a job failed, as data. It implements the error interface.
type Error struct {
	Type      ErrorType `json:"type"`
	Message   string    `json:"message"`       // a sentence for people; never holds a secret (I9)
	Retryable bool      `json:"retryable"`     // running the job again, unchanged, may succeed
	Raw       string    `json:"raw,omitempty"` // the model's last text, for OutputInvalid and OutputTruncated; bounded
	// RequestAtFault: the server refused the request repeatedly and answered others in between. Only for BackendRejected.
	RequestAtFault bool `json:"request_at_fault,omitempty"`
}

// Unfinished reports whether the job should run again in a resumed batch: an outage or an interruption failed it, not its own
// request. Earlier versions failed jobs with BackendRejected during outages, and did not set RequestAtFault.
func (e *Error) Unfinished() bool {
	return e.Retryable || e.Type == BackendRejected && !e.RequestAtFault
}

// NewError returns an Error with the Retryable of its type.
func NewError(t ErrorType, message string) *Error {
	return &Error{Type: t, Message: message, Retryable: t.Retryable()}
}

func (e *Error) Error() string { return string(e.Type) + ": " + e.Message }

// Usage counts tokens over all model calls of a job. Calls of earlier attempts count if they were journalled.
type Usage struct {
	PromptTokens     int64 `json:"prompt_tokens"`
	CachedTokens     int64 `json:"cached_tokens"` // part of PromptTokens that came from the server's prefix cache
	CompletionTokens int64 `json:"completion_tokens"`
	// ContextTokens is the greatest length of the conversation: over all turns of a job, the largest prompt with its answer.
	// The ContextTokens of several jobs are added up.
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

// Sharing returns how much KV cache the servers saved because agents share prefixes. It is the number of tokens that the caches
// would have computed with one copy per agent, divided by the number that they computed:
//
//	ContextTokens / (PromptTokens - CachedTokens + CompletionTokens)
//
// The numerator counts each conversation once, at its greatest length. The denominator counts all tokens computed and so written
// to a cache: of each turn, the prompt without its cached part, and the answer. A prefix that n agents share counts n times in
// the numerator and once in the denominator, so the ratio exceeds 1. The earlier turns of an agent count once in both, so an
// agent that finds its own turns in the cache is not counted as sharing. Only the denominator counts tokens that were evicted
// and computed again, and the last incomplete block of each turn. So the ratio never overstates the saving, and is below 1
// where the servers thrash. A prefix that an earlier batch left in a cache counts as shared.
//
// TokenDance reports the same ratio: tokens with one copy per agent, over tokens held. Sharing derives it from the usage of
// each answer alone. It returns 0 if no server reported cached tokens.
func (u Usage) Sharing() float64 {
	computed := u.PromptTokens - u.CachedTokens + u.CompletionTokens
	if u.CachedTokens <= 0 || u.ContextTokens <= 0 || computed <= 0 {
		return 0
	}
	return float64(u.ContextTokens) / float64(computed)
}

// ToolCounts counts the tool calls that a job requested and those that ran for it. The rest were shared with other jobs or
// answered from a cache.
type ToolCounts struct {
	Asked    int64 `json:"asked"`
	Executed int64 `json:"executed"`
}

// Add adds o to c.
func (c *ToolCounts) Add(o ToolCounts) {
	c.Asked += o.Asked
	c.Executed += o.Executed
}

// FirstCalls is how many jobs of a batch, the first ones of its inputs, may have a FirstCall.
const FirstCalls = 1_000

// FirstCall is a tool call in the form of an entry of a spec's preload: values of the input are placeholders.
type FirstCall struct {
	Tool string          `json:"tool"`
	Args json.RawMessage `json:"args"`
}

// Result is the one committed outcome of a job. Its JSON form is one line of every results file and stream.
type Result struct {
	Batch    ID              `json:"batch"`
	JobID    string          `json:"job_id"`       // "job-<index>"
	Index    int64           `json:"index"`        // 0-based position in the input list
	ID       string          `json:"id,omitempty"` // the user's own key of the input; "" if the spec has no id
	Status   Status          `json:"status"`
	Input    json.RawMessage `json:"input,omitempty"` // carried fields of the input, in the order of the spec; nil without any
	Item     json.RawMessage `json:"item,omitempty"`  // the plan's item Index, if the job ran over a plan; may be missing if the job never ran
	Output   json.RawMessage `json:"output"`          // valid JSON; null unless Status is OK
	Error    *Error          `json:"error"`           // nil if Status is OK
	Attempts int             `json:"attempts"`        // attempts counted for the job
	Turns    int             `json:"turns"`           // model calls that ended with a finish reason, repair turns included
	Usage    Usage           `json:"usage"`
	Tools    ToolCounts      `json:"tools"`
	Model    string          `json:"model"`              // the model that the server named in its answer
	LeftOut  []string        `json:"left_out,omitempty"` // sampling fields of the spec that the model does not accept; not sent; sorted
	Worker   string          `json:"worker"`             // the worker's --id
	WallMS   int64           `json:"wall_ms"`            // from the last claim to the end, milliseconds
	Times    Times           `json:"times_ms,omitzero"`

	// FirstCall is the call of the job's first turn if it follows from the input. Only the first jobs of a batch have it, so
	// that `explain` can recommend to preload the call.
	FirstCall *FirstCall `json:"first_call,omitempty"`

	// Replayed is how many calls of the agent's program were answered from the journal of earlier attempts.
	Replayed int `json:"replayed,omitempty"`
	// DivergedAt is the number of the first call, from 1, that the program made differently from an earlier attempt; 0 if none.
	DivergedAt int `json:"diverged_at,omitempty"`
	// Files are the files of the program's working folder that the spec collects, by path.
	Files map[string]File `json:"files,omitempty"`
	// Diff are the changes of the working folder in the format of git, if the spec asks for them.
	Diff string `json:"diff,omitempty"`
	// DiffFile is the diff if it is too large for a result.
	DiffFile *File `json:"diff_file,omitempty"`

	// Transcript holds the turns of the job's agent in the form of package agent. Empty unless the batch keeps transcripts.
	Transcript json.RawMessage `json:"transcript,omitempty"`

	// Fingerprint is equal for jobs that send equal requests: prompts, output schema, model, tools, and sampling without
	// max_tokens. Only a result whose output may be reused has one.
	Fingerprint string `json:"fingerprint,omitempty"`
	MaxTokens   int    `json:"max_tokens,omitempty"`  // the limit under which the result was made; 0 is no limit
	ReusedFrom  string `json:"reused_from,omitempty"` // "<batch>/job-<index>" that made the output, if another job did

	// Question is a hash of the job's request without the model: prompts, output schema, tools with their versions, and
	// sampling without max_tokens (I10). Failed results and results of tools with side effects have it too. Empty for
	// reductions, for jobs that were cancelled before a worker claimed them, and in results of earlier versions.
	Question string `json:"question,omitempty"`
	// Row is a hash of all fields of the job's input, and identifies the input in another run. Empty for jobs of a plan, and
	// in results of earlier versions.
	Row string `json:"row,omitempty"`
	// PromptVersion is a hash of the spec's prompts, schema, sampling and tools: everything of the question that is the same for all
	// jobs, as the spec's author wrote it.
	PromptVersion string `json:"prompt_version,omitempty"`
	// RequestModel is the model that the job requested. Empty if it equals Model.
	RequestModel string `json:"request_model,omitempty"`
	// Simulated marks a result that the simulated server made.
	Simulated bool `json:"simulated,omitempty"`
}

// File is a collected file. Exactly one of Text, Base64 and Path is set, unless the file is empty.
type File struct {
	Text   string `json:"text,omitempty"`
	Base64 []byte `json:"base64,omitempty"` // of a file that is not UTF-8
	Path   string `json:"path,omitempty"`   // where a large file is kept: a path or an s3:// address
	SHA256 string `json:"sha256,omitempty"` // of a file with Path, in hexadecimal digits
	Size   int64  `json:"size"`             // bytes of the whole file
	Cut    bool   `json:"cut,omitempty"`    // the file is too large, and only its beginning is here
}

// AskedModel returns the name of the model that the job requested. Empty if that was not recorded.
func (r Result) AskedModel() string {
	if r.RequestModel != "" {
		return r.RequestModel
	}
	return r.Model
}

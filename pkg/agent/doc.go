// Package agent runs one job to its end: the turn loop between a model and tools.
//
//	preflight ─▶ slot ─▶ model call ─▶ give the slot back ─▶ tool calls ─▶ checkpoint ─▶ next turn
//	                          └─▶ final answer ─▶ extract, repair, validate ─▶ result
//
// It owns the conversation, the journal's format, retries of a turn, and the structured output. It knows neither
// Redis nor a server's protocol: it takes narrow interfaces. A job's failure is data ([batch.Error]), not a Go error; a
// Go error from [Runner.Run] means that the attempt ended without a result and nothing more may be written.
//
// The conversation is rebuilt from the journal byte for byte after a takeover, so that the server's prefix cache
// sees what it saw before. This holds by construction: a turn enters the conversation only in the form in which it
// was written to the journal, through the same code that reads it back.
//
// # What a turn is
//
// A turn ends with tool calls, and is journalled with their results; or with an answer that is not valid, and is
// journalled with the message that asks for a valid one (once per job); or with the answer that ends the job, which is
// not journalled, because the result holds it. A turn that is cut, refused or broken off leaves nothing behind: what
// its tool calls had started is cancelled, and tools with side effects are started only when it is known to be good.
//
// # Goroutines
//
// Run works on its caller's goroutine. Tool calls run on goroutines that end before their turn does, at most
// 16 at a time; one more goroutine watches Job.Stop while Run runs. Nothing outlives Run.
//
// # Failures
//
// Classes of backend errors map to job errors as follows; retries repeat the turn, never the job.
//
//	transient, rate_limited, overloaded   retried, then BackendUnavailable
//	degenerate                            repeated once without response_format, then OutputInvalid
//	context_too_long                      Oversized
//	invalid_request, unknown_model,
//	auth, quota_exhausted                 repeated once, then BackendRejected
//	finish reason refused                 BackendRejected: the server's content filter decides, and decides again
//	finish reason length                  OutputTruncated, with the limit that the usage shows
//
// A failure counts only if another job's call was answered since the one before: see trial. Without an [Endpoint] every failure counts.
//
// Start reading at [Runner.Run].
package agent

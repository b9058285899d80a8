// Package agent runs one job to its end: the turn loop between a model and tools.
//
//	preflight ─▶ slot ─▶ model call ─▶ release the slot ─▶ tool calls ─▶ checkpoint ─▶ next turn
//	                          └─▶ final answer ─▶ extract, repair, validate ─▶ result
//
// It owns the conversation, the journal's format, retries of a turn, and the structured output. It depends on neither
// Redis nor a server's protocol: it takes narrow interfaces. A job's failure is data ([batch.Error]), not a Go error. A
// Go error from [Runner.Run] means that the attempt ended without a result and nothing more may be written.
//
// After a takeover the conversation is rebuilt from the journal byte for byte, so that the server's prefix cache sees
// the same prompt again. This holds by construction: a turn is added to the conversation only in the form written to the
// journal, by the same code that reads it back.
//
// # Turns
//
// A turn ends in one of three ways:
//
//   - with tool calls: it is journalled with their results
//   - with an invalid answer, once per job: it is journalled with the message that requests a valid one
//   - with the answer that ends the job: it is not journalled, because the result holds it
//
// A turn that is cut, refused or broken off leaves nothing behind. Tool calls that it had started are cancelled. Tools
// with side effects start only once the turn is complete.
//
// # Goroutines
//
// Run works on its caller's goroutine. Tool calls run on goroutines that end before their turn does, at most 16 at a
// time. One more goroutine watches Job.Stop while Run runs. No goroutine outlives Run.
//
// # Failures
//
// Classes of backend errors map to job errors as follows. Retries repeat the turn, never the job.
//
//	transient, rate_limited, overloaded   retried, then BackendUnavailable
//	degenerate                            repeated once without response_format, then OutputInvalid
//	context_too_long                      Oversized
//	invalid_request, unknown_model,
//	auth, quota_exhausted                 repeated once, then BackendRejected
//	finish reason refused                 BackendRejected: a repeated request would meet the same content filter
//	finish reason length                  OutputTruncated, with the limit that the usage shows
//
// A failure counts only if another job's call was answered since the previous one: see trial. Without an [Endpoint]
// every failure counts.
//
// Start reading at [Runner.Run].
package agent

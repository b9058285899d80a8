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
// sees what it saw before.
//
// Start reading at [Runner.Run].
package agent

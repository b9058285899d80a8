// Package toolpool runs tool calls for agents, and runs equal calls once.
//
// It owns the registry of tools, the check of arguments against a tool's schema, sharing of calls (single-flight and
// cache), timeouts and the cutting of long results. A call never fails an agent: whatever goes wrong becomes a
// [Result] that tells the model what happened, and the agent goes on. The main type is [Pool], its method
// [Pool.Call].
//
// Sharing here is within one process. The seam for the cluster is the sharing window that each [Tool] declares.
//
// # Goroutines
//
// A shared execution runs on goroutines of its own, under a context that belongs to no caller: it ends when the tool
// returns, when its timeout passes, or when the last caller that waits for it has left. A tool that does not return
// when its context ends is given up after a second; its goroutine lives until it does return, and the log says so.
// No lock is held while a tool runs.
//
// # Failures
//
// Results that say what went wrong are never cached. A panic in a tool is a failed result for the model and a stack
// in the log. [Pool.Call] returns an error only when the caller's context is done.
//
// Built-in tools live in package builtin, the schema rules in package schema.
//
// Start reading at [Pool.Call].
package toolpool

// Package toolpool runs tool calls for agents, and runs equal calls once.
//
// It owns the registry of tools, the check of arguments against a tool's schema, sharing of calls (single-flight and
// cache), limits, timeouts and the cutting of long results. Whatever goes wrong in a tool becomes a [Result] that tells
// the model what happened, and the agent goes on; only an effect of which nobody knows fails it. The main type is [Pool],
// its method [Pool.Call].
//
// A pool shares calls within its process. With a [Cluster], package shared, the processes share among each other. Calls
// with side effects are written down in a [Ledger] instead.
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
// Results that say what went wrong are never cached; those of which a tool says that they may pass are tried again
// first. A panic in a tool is a failed result for the model and a stack in the log. [Pool.Call] returns an error when the
// caller's context is done, or a ledger does not take a write, or an effect is unknown. A cluster that is away costs the
// sharing with other processes and nothing else.
//
// Built-in tools live in package builtin, the schema rules in package schema.
//
// Start reading at [Pool.Call].
package toolpool

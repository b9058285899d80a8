// Package toolpool runs tool calls for agents, and runs equal calls once.
//
// It owns the registry of tools, the check of arguments against a tool's schema, the sharing of calls (single-flight
// and cache), limits, timeouts and the cutting of long results. A failure in a tool becomes a [Result] that describes
// it to the model, and the agent continues. Only an effect with an unknown outcome fails the agent. The main type is
// [Pool], with its method [Pool.Call].
//
// A pool shares calls within its process. With a [Cluster] (package shared), several processes share calls. Calls
// with side effects are recorded in an [EffectLog] instead.
//
// # Goroutines
//
// A shared execution runs on its own goroutines, under a context that belongs to no caller. It ends when the tool
// returns, when its timeout passes, or when the last waiting caller leaves. The pool abandons a tool that does not
// return within a second after its context ended, and logs that. Its goroutine lives until the tool returns. No lock
// is held while a tool runs.
//
// # Failures
//
// Failed results are never cached. The pool retries transient failures first. A panic in a tool becomes a failed
// result for the model and a stack in the log. [Pool.Call] returns an error when the caller's context is done, when a
// effect log rejects a write, or when an effect is unknown. Without a reachable cluster, calls are shared within the
// process only; nothing else changes.
//
// Built-in tools live in package builtin, the schema rules in package schema.
//
// Start reading at [Pool.Call].
package toolpool

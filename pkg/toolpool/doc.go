// Package toolpool runs tool calls for agents, and runs equal calls once.
//
// It owns the registry of tools, the check of arguments against a tool's schema, sharing of calls (single-flight and
// cache), timeouts and the cutting of long results. A call never fails an agent: whatever goes wrong becomes a
// [Result] that tells the model what happened, and the agent goes on. The main type is [Pool], its method
// [Pool.Call].
//
// Sharing here is within one process. The seam for the cluster is the sharing window that each [Tool] declares.
package toolpool

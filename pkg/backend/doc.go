// Package backend is the contract between an agent and an inference server.
//
// It owns the message, request and response types, the error classes, and the few abilities that an adapter may have
// beyond generating text. One folder per adapter implements it; package dial picks the adapter by URL; package
// backendtest is the conformance suite that every adapter passes. It does not decide retries: an adapter reports what
// happened as an [Error] with a [Class], once, and the agent decides.
//
// An endpoint is one URL of a backend. Keys come from the environment, never from the URL (I9).
//
// # What a turn is worth
//
// Servers end streams in many ways that look like success. The rules here come from recorded traffic:
// a response counts only with a finish reason; "[DONE]" and usage prove nothing; a tool call of a turn that ended
// with [FinishLength] is never run; arguments are checked against the tool's schema even when the tool is strict.
//
// Start reading at [Backend].
package backend

// Package backend is the contract between an agent and an inference server.
//
// It owns the message, request and response types, the error classes, and the optional abilities of adapters beyond
// generating text. One folder per adapter implements it. Package dial selects the adapter by URL. Package backendtest
// is the conformance suite of all adapters. This package does not decide retries: an adapter reports one [Error] with a
// [Class], and the agent decides.
//
// An endpoint is one URL of a backend. Keys come from the environment, never from the URL (I9).
//
// # When a turn counts
//
// Servers end streams in many ways that look like success. These rules come from recorded traffic. A response counts
// only with a finish reason; "[DONE]" and usage are no evidence. A tool call of a turn that ended with [FinishLength]
// is never run. Arguments are checked against the tool's schema even when the tool is strict.
//
// Start reading at [Backend].
package backend

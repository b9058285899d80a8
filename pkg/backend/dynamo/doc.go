// Package dynamo is the backend for an NVIDIA Dynamo frontend.
//
// It owns Dynamo's features beyond the chat protocol of package openaichat, as observed on a real 1.6.1. The body has
// exactly the supported fields, because Dynamo refuses all others. Priorities are hints to its router, and sessions are
// headers. Whole tool calls arrive in separate events. Readiness is checked per model, and the load comes from the
// frontend's metrics only. Package openaichat owns the chat itself and its failure model.
//
// URLs: dynamo://host:port (the default port is 8000), dynamo+http:// the same, dynamo+https://host/prefix. Dynamo
// checks no key. A gateway in front of it may check one, and gets BATCHAGENT_API_KEY.
//
// # Answers that are not trusted
//
//   - /health: it returns 200 without any worker. The model's own readiness route is used instead.
//   - A tool call in a tool_call_dispatch event. It counts only if it is whole, the tool choice was auto, and the next chunk
//     does not report a cut. Its deltas follow, and are recognized by its ID.
//   - A tool call of a turn that was cut: Dynamo completes it to valid JSON.
//   - Implausible usage: a request that moved to another worker is billed for its earlier output, and its stream does not
//     report the move. See type usageCheck.
//
// A prompt over the window is reported as such only if the workers publish their budget. Otherwise it looks like an
// internal error, and the agent's retries fail too.
//
// A Backend is safe for concurrent use and starts no goroutine. Start reading at [Backend.Generate].
package dynamo

// Package vllmsim is a simulated inference server that speaks vLLM's HTTP.
//
// It serves laptops, tests and benchmarks that have no GPU. A client should not be able to tell its framing from the
// real server's: routes, status codes, the four shapes of error bodies, event order and field names follow recorded
// traffic of vLLM 0.32. What it says is made up, deterministic from the seed and the conversation, and marked
// ("simulated: …", and owned_by "batchagent-vllmsim" in /v1/models).
//
// # Parts
//
//   - the HTTP face: server.go, chat.go, request.go, validate.go, stream.go, body.go, endpoints.go
//   - the engine, behind a narrow interface: engine.go. It knows sizes and prefixes, never text, and says when tokens
//     come. There are two: fixed latencies (engine.go), and continuous batching over a paged KV cache (batched.go and
//     package batching)
//   - the answer: answer.go, args.go, hints.go, find.go. It says what the model writes
//   - faults: faults.go, by rate or by request header
//
// # Goroutines and failure
//
// Every request is served on its handler's goroutine, which waits on timers and the request's context only; with a
// profile one more goroutine takes the engine's steps while requests are in flight. So a server works inside a
// testing/synctest bubble. A closed connection frees its
// request at once. [Server.Start] owns the goroutines of the listener and ends them with its stop function.
// All state is bounded: the prefix cache by Config.KVBlocks, parsed schemas and tools by small LRU caches.
//
// # Limits
//
// One choice per request (n=1), no logprobs, and of structured_outputs only json. Text after a stop string, and what
// exceeds max_tokens, is cut as the real server cuts it.
//
// Start reading at [Server.ServeHTTP].
package vllmsim

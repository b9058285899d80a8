// Package vllmsim simulates an inference server with vLLM's HTTP API.
//
// It is for laptops, tests and benchmarks without a GPU. A client should not be able to distinguish its framing from the real
// server's. Routes, status codes, the four shapes of error bodies, event order and field names follow recorded traffic of vLLM
// 0.32.0. The answers are generated from the seed and the conversation and are deterministic. They are marked with "simulated:
// …", and /v1/models has owned_by "batchagent-vllmsim".
//
// # Parts
//
//   - the HTTP API: server.go, chat.go, request.go, validate.go, stream.go, body.go, endpoints.go
//   - the engine, behind a narrow interface: engine.go. It has sizes and prefixes but no text, and decides when tokens
//     are ready. Two engines exist: fixed latencies (engine.go), and continuous batching over a paged KV cache
//     (batched.go and package batching)
//   - the answer: answer.go, args.go, hints.go, find.go. It decides the text and the tool calls
//   - faults: faults.go, by rate or by request header
//
// # Goroutines and failure
//
// Every request runs on its handler's goroutine, which waits only on timers and the request's context. With a profile, one more
// goroutine executes the engine's steps while requests are in flight. A server therefore works inside a testing/synctest bubble.
// A closed connection ends its request immediately. [Server.Start] starts the listener's goroutines; its stop function ends them.
// All state is limited: the prefix cache by Config.KVBlocks, parsed schemas and tools by small LRU caches.
//
// # Limits
//
// One choice per request (n=1), no logprobs, and only json of structured_outputs. Text after a stop string or beyond max_tokens
// is cut like in the real server.
//
// Start reading at [Server.ServeHTTP].
package vllmsim

// Package batching models an inference engine: continuous batching over a paged KV cache.
//
// It follows vLLM's V1 scheduler. Every step has a budget of tokens. Running sequences come first, each with one
// token to decode or a chunk of its prompt; waiting ones join while budget, sequence limit and free blocks allow. A
// sequence that joins reuses the leading blocks whose KV is still held. When a running sequence finds no free block, the
// youngest one (or the one of the lowest priority) loses all its blocks and computes them again later. Blocks that
// nobody uses stay reusable until they are needed, least recently used first, the end of a sequence before its start.
//
// The model is pure: no clock, no goroutine, no I/O. [Engine.Begin] plans a step and says how long it takes;
// [Engine.End] applies it. Whoever drives it decides whether that time passes for real or in a synctest bubble. It
// knows sizes and block hashes, never text.
//
// A step's time is linear in what it computes ([Cost]). [Profile] holds the constants of a machine and model,
// calibrated against published measurements; the package's tests print both side by side.
//
// An Engine is not safe for concurrent use. Its state is bounded by the KV cache and the sequences that were added.
//
// Start reading at [Engine.Begin].
package batching

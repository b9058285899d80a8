// Package batching models an inference engine: continuous batching over a paged KV cache.
//
// It follows vLLM's V1 scheduler. Every step has a budget of tokens. Running sequences come first; each decodes one token or
// computes a chunk of its prompt. Waiting sequences join while budget, sequence limit and free blocks allow. A sequence that
// joins reuses its leading blocks if their KV is still cached. If no block is free for a running sequence, the youngest one (or
// the one with the lowest priority) is preempted: it loses all its blocks and computes them again later. Unused blocks stay
// reusable until they are needed, least recently used first, the end of a sequence before its start.
//
// The model is pure: no clock, no goroutine, no I/O. [Engine.Begin] plans a step and returns its duration; [Engine.End] applies
// it. The caller decides whether that time passes for real or in a synctest bubble. The model has sizes and block hashes, but no
// text.
//
// A step's time is linear in the amount of its computation ([Cost]). [Profile] holds the constants of a machine and model,
// calibrated against published measurements. The package's tests print both side by side.
//
// An Engine is not safe for concurrent use. The KV cache and the added sequences limit its memory.
//
// Start reading at [Engine.Begin].
package batching

// Package batchagent runs one LLM-agent task over many inputs, on this machine or on a cluster of workers next to vLLM
// or SGLang servers.
//
// A [Batch] has the prompts, the tools and the output type of its agents. [Run] returns one [Result] per input, in the order of
// the inputs. [Stream] yields each result when its job ends. An agent runs several turns and calls tools. Equal tool calls run
// once. An answer must match the schema of the output type; otherwise the agent gets one repair turn. Transient faults are retried.
//
//	type Review struct {
//		Summary string   `json:"summary" jsonschema:"one sentence"`
//		Issues  []string `json:"issues"`
//	}
//
//	results, err := batchagent.Run(ctx, batchagent.Batch[Review]{
//		Task:   "Review the Go file {input}. Read it with read_file first.",
//		Inputs: batchagent.Slice(paths),
//		Tools:  []batchagent.Tool{batchagent.Named("read_file")},
//	}, batchagent.Backend("vllm://127.0.0.1:8000"))
//
// # Where it runs
//
// By default a batch runs in this process with an embedded Redis. With the option [Redis] it runs on the workers of a cluster.
//
// # Errors
//
// A failed job is not an error of Run or Stream. Its Result has an Err of type [*Error], and the other results have outputs. An
// error of Run or Stream means that the batch cannot continue. A [*FieldError] or [*BadInputsError] is a mistake in the Batch or
// its inputs. An [*UnreachableError] means that a server does not answer. A [*PausedError] means that the budget is used up. The
// cause of a cancelled context is returned unchanged. Match errors with errors.As.
//
// # Goroutines
//
// Run and Stream call OnResult on the caller's goroutine. All goroutines have ended when Run returns or the loop over a Stream
// ends. The end of a context may take a second to have effect.
//
// README.md describes the programs, docs/library.md this package, and ARCHITECTURE.md the implementation.
package batchagent

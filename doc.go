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
// A batch may have two more stages. A [Plan] makes the inputs, and a [Reduce] combines the results.
//
// # On a cluster
//
// Run and Stream use this process alone, with an embedded Redis. [Connect] connects to the Redis of a cluster, or to a server in
// front of it. [Submit] submits a batch there and returns a [Handle], which reads, cancels and retries it. [Attach] returns a handle
// in another process. A [Worker] runs jobs of a cluster, and offers Go functions as tools.
//
// # Errors
//
// A failed job is not an error of a call. Its Result has an Err of type [*Error], and the other results have outputs. An error of a
// call means that the batch cannot continue. A [*UsageError] is a mistake in the batch or the call. It wraps a [*FieldError], a
// [*SchemaError], a [*BadInputsError] or an [*UnknownToolError], if one of them has the details. An [*UnreachableError] means that a
// server does not answer. A [*PausedError] means that the budget is used up. The cause of a cancelled context is returned
// unchanged. Match errors with errors.As and errors.Is.
//
// # Goroutines
//
// All goroutines have ended when a function returns, or when the loop over a Stream or over [Handle.Results] ends. The end of a context
// may take a second to have effect. A [Cluster] keeps connections until Close.
//
// README.md describes the programs, docs/library.md this package, and ARCHITECTURE.md the implementation.
package batchagent

// Package batchagent runs one LLM-agent task over many inputs, on this machine or on a cluster of workers beside vLLM
// or SGLang servers.
//
// A [Batch] says what every agent is told, what it may call, and, by the type of its output, what it must answer.
// [Run] returns one [Result] per input, in the order of the inputs; [Stream] yields them as they are finished. Every
// agent is a loop of several turns: tools are called, equal calls once; answers are checked against the schema of the
// output type, and asked for again if they do not fit; what fails in a way that may pass is tried again.
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
// In this process, with an embedded Redis, unless [Redis] names the Redis of a cluster.
//
// # Errors
//
// That a job failed is data: its Result has an Err, which is an [*Error], and the others have their outputs. The error of
// Run and Stream says that the batch itself cannot go on: a [*FieldError] or [*BadInputsError] is a mistake of the Batch or
// its inputs, an [*UnreachableError] a server that does not answer, a [*PausedError] a budget that is used up, and a context's cause is returned as it is. Match
// them with errors.As.
//
// # Goroutines
//
// Run and Stream call back on the caller's goroutine. When Run returns, or the loop over a Stream ends in whatever way,
// everything that was started has ended. That a context is done may take a second to be noticed.
//
// README.md tells about the programs, docs/library.md about this package, ARCHITECTURE.md how it works.
package batchagent

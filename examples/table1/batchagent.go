package main

import (
	"context"

	"github.com/batchagent/batchagent"
)

type verdict struct{ Decision, Reason string }

func judge(ctx context.Context, url string, letters []string, read func(context.Context, question) (string, error)) ([]batchagent.Result[verdict], error) {
	return batchagent.Run(ctx, batchagent.Batch[verdict]{
		Task:   "Read policy.md with read_file, then decide whether this customer may send the goods back: {input}",
		Inputs: batchagent.Slice(letters),
		Tools:  []batchagent.Tool{batchagent.Func("read_file", "Reads a file.", read)},
	}, batchagent.Backend(url))
}

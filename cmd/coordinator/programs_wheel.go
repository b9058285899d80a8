//go:build wheel

package main

import (
	vllmsim "github.com/batchagent/batchagent/cmd/vllmsim/app"
	worker "github.com/batchagent/batchagent/cmd/worker/app"
)

func init() {
	programs["worker"] = worker.Main
	programs["vllmsim"] = vllmsim.Main
}

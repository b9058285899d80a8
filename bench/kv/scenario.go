package main

import (
	"math/rand/v2"
	"time"

	"github.com/batchagent/batchagent/pkg/vllmsim/batching"
)

// scenario is a workload on a machine.
type scenario struct {
	load    func(n int, r *rand.Rand) workload
	agents  int
	profile func() (batching.Profile, error)
	sweep   []int // of the fixed arm
}

func a10g() (batching.Profile, error) { return batching.LookupProfile("a10g-7b") }

// smallMachine is calibrated to a real vLLM 0.32 with a model of 135 million parameters, two CPU cores with nothing else on them, and
// 4,096 tokens of KV. Workload d took 32.6 s there with a cache that never evicts, 81.7 s unlimited, and 85.0, 81.6 and 77.5 s with at
// most 3, 4 and 6 agents. The model gives 31.2, 81.1, 85.8, 79.5 and 82.3 s.
func smallMachine() (batching.Profile, error) {
	return batching.Profile{
		Name: "cpu", BlockSize: 128, Blocks: 32, BudgetTokens: 2_048, MaxSequences: 256,
		Cost: batching.Cost{
			Step: 60 * time.Millisecond, Prefill: 500 * time.Microsecond, Attention: 100 * time.Microsecond, Decode: 4 * time.Millisecond,
		},
	}, nil
}

// late is a10g with a prefix cache that can reuse a prompt only once its answer has begun.
func late() (batching.Profile, error) {
	p, err := a10g()
	p.Name, p.LateReuse = p.Name+" with late reuse", true
	return p, err
}

// bigMachine has figures for an H100 with a 7B model in 16 bit, and a million tokens of KV. They are computed from its bandwidth,
// not calibrated.
func bigMachine() (batching.Profile, error) {
	return batching.Profile{
		Name: "h100-7b", BlockSize: 16, Blocks: 62_500, BudgetTokens: 8_192, MaxSequences: 1_024, Overhead: 20 * time.Millisecond,
		Cost: batching.Cost{
			Step: 7 * time.Millisecond, Prefill: 28 * time.Microsecond, Attention: 500 * time.Nanosecond, Decode: 12 * time.Microsecond,
			Context: 17 * time.Microsecond,
		},
	}, nil
}

// offload is a10g with a second tier of 400,000 tokens in the host's memory. A token takes 57 KB, and the bus moves about 6 GB/s.
func offload() (batching.Profile, error) {
	p, err := a10g()
	p.Name, p.HostBlocks, p.Cost.Load = p.Name+" with offload", 25_000, 10*time.Microsecond
	return p, err
}

var scenarios = map[string]scenario{
	"a":       {single, 1_000, a10g, []int{16, 32, 64, 96, 112, 128, 144, 192, 256}},
	"b":       {oneTool, 1_000, a10g, []int{16, 32, 64, 96, 112, 128, 144, 192, 256}},
	"a-late":  {single, 1_000, late, []int{32, 64, 112, 128, 144, 192}},
	"c":       {agentic, 96, a10g, []int{1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 32}},
	"e":       {longTools, 96, a10g, []int{4, 6, 8, 12, 16, 24, 32}},
	"e-big":   {longTools, 400, bigMachine, []int{64, 80, 96, 128, 160, 200}},
	"c-big":   {agentic, 400, bigMachine, []int{32, 48, 56, 64, 72, 80, 96, 128, 200}},
	"d":       {smallCPU, 16, smallMachine, []int{1, 2, 3, 4, 5, 6, 8, 12}},
	"d-long":  {longCPU, 16, smallMachine, []int{1, 2, 3, 4, 5, 6, 8, 12}},
	"f":       {func(n int, r *rand.Rand) workload { return questions(n, r).grouped() }, 800, a10g, []int{16, 32, 64, 96, 128, 192, 256}},
	"f-input": {questions, 800, a10g, []int{16, 32, 48, 64, 96, 128, 192, 256}},
	"g":       {visited, 96, a10g, []int{2, 3, 4, 5, 6, 8, 10, 12, 16}},
	"h":       {agentic, 96, offload, []int{4, 6, 8, 12, 16, 24, 32, 48}},
	"j":       {sections, 240, a10g, []int{2, 4, 6, 8, 12, 16, 24, 32, 48, 64}},
	"i":       {rollouts, 512, bigMachine, []int{64, 128, 192, 256, 320, 384}},
}

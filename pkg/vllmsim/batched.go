package vllmsim

import (
	"context"
	"errors"

	"github.com/batchagent/batchagent/pkg/vllmsim/batching"
)

// batchedEngine has the timing of a real engine, modelled by package batching.
type batchedEngine struct{ driver *batching.Driver }

func newBatchedEngine(c Config) (*batchedEngine, error) {
	profile, err := batching.LookupProfile(c.Profile)
	if err != nil {
		return nil, err
	}
	profile.Blocks = c.KVBlocks
	if c.MaxRunning > 0 {
		profile.MaxSequences = c.MaxRunning
	}
	if c.BudgetTokens > 0 {
		profile.BudgetTokens = c.BudgetTokens
	}
	d, err := batching.NewDriver(batching.DriverConfig{
		Profile: profile, TimeScale: c.TimeScale, ByPriority: c.ByPriority, MaxQueued: c.MaxQueued,
	})
	if err != nil {
		return nil, err
	}
	return &batchedEngine{driver: d}, nil
}

func (e *batchedEngine) admit(p pass) (sequence, error) {
	blocks := p.prompt
	if p.whole != nil {
		blocks = p.whole
	}
	run, err := e.driver.Admit(batching.Request{
		PromptTokens: p.promptTokens, OutputTokens: p.outputTokens, Blocks: blocks, Priority: p.priority,
	})
	if errors.Is(err, batching.ErrQueueFull) {
		return nil, errQueueFull
	}
	if err != nil {
		return nil, err
	}
	return &batchedSequence{admitted: run, pass: p}, nil
}

func (e *batchedEngine) load() load {
	l, c := e.driver.Load(), e.driver.Counters()
	return load{
		running: l.Running, waiting: l.Waiting, kvUsage: float64(l.UsedBlocks) / float64(l.Blocks), preemptions: c.Preemptions,
	}
}

type batchedSequence struct {
	admitted *batching.Run
	pass     pass
}

func (s *batchedSequence) generate(ctx context.Context, emit func(step) error) error {
	return s.admitted.Wait(ctx, s.pass.delay, func(p batching.Progress) error {
		return emit(step{
			tokens: p.Generated, cached: p.Cached, created: (s.pass.promptTokens/blockSize)*blockSize - p.Cached,
		})
	})
}

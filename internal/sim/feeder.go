package sim

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// startFeeder starts the submission, always from the first job. The store skips jobs that were fed before.
func (w *world) startFeeder() { w.start(w.feeder, w.feed) }

func (w *world) feed(ctx context.Context, p *process, _ <-chan struct{}) error {
	s, err := w.connect(ctx, p)
	if err != nil {
		return err
	}
	defer s.Close()
	for {
		err := w.submit(ctx, s)
		if w.cfg.forgets() && errors.Is(err, statestore.ErrNotFound) {
			continue // Redis lost the batch, or its reducer, before the batch was created
		}
		if w.cfg.forgets() && errors.Is(err, statestore.ErrConflict) {
			// Redis lost some jobs of an open batch; feed them again.
			phase, err := w.phase(ctx, s)
			if err == nil && phase == batch.Open || errors.Is(err, statestore.ErrNotFound) {
				continue
			}
			return err
		}
		if !tolerable(err) {
			return err
		}
		return nil
	}
}

func (w *world) phase(ctx context.Context, s *statestore.Store) (phase batch.Phase, err error) {
	err = s.UntilKnown(ctx, func() (err error) {
		phase, err = s.Phase(ctx, batchID)
		return err
	})
	return phase, err
}

// submit creates the batch, feeds its jobs and seals it.
func (w *world) submit(ctx context.Context, s *statestore.Store) error {
	plan, err := w.cfg.compiled()
	if err != nil {
		return err
	}
	if w.cfg.reduce {
		h, plan, err := w.cfg.reducer()
		if err != nil {
			return err
		}
		if err := s.UntilKnown(ctx, func() error { return s.Create(ctx, h, plan) }); err != nil {
			return err
		}
		if w.cfg.forgets() { // so that a loss can also fall between the two batches
			if err := sleep.For(ctx, between(w.chance.on("create"), 0, furthest)); err != nil {
				return err
			}
		}
	}
	if err := s.UntilKnown(ctx, func() error { return s.Create(ctx, w.cfg.header(), plan) }); err != nil {
		return err
	}
	order, rests := w.cfg.order(), w.cfg.rests()
	for from := 0; from < w.cfg.jobs; from += w.cfg.chunk {
		var indexes, group []int64
		var payloads [][]byte
		for _, i := range order[from:min(from+w.cfg.chunk, w.cfg.jobs)] {
			indexes, payloads = append(indexes, int64(i)), append(payloads, payload(i))
		}
		if rests != nil {
			group = rests[from : from+len(indexes)]
		}
		err := s.UntilKnown(ctx, func() error {
			_, err := s.FeedSorted(ctx, batchID, int64(from), indexes, group, payloads)
			return err
		})
		if errors.Is(err, statestore.ErrConflict) {
			break // the batch was cancelled, or the seal of an earlier feeder arrived
		}
		if err != nil {
			return err
		}
		if w.cfg.forgets() { // so that a loss can also fall between two chunks
			chunks := time.Duration(w.cfg.jobs/w.cfg.chunk + 1)
			if err := sleep.For(ctx, between(w.chance.on("feed", strconv.Itoa(from)), 0, w.cfg.calmAt/chunks)); err != nil {
				return err
			}
		}
		_ = s.Ring(ctx, statestore.Event{Kind: statestore.JobsWaiting, Batch: batchID})
	}
	return s.UntilKnown(ctx, func() error {
		_, err := s.Seal(ctx, batchID, int64(w.cfg.jobs))
		return err
	})
}

// payload returns a job's input in the format of package agent.
func payload(index int) []byte { return fmt.Appendf(nil, `{"in":{"n":"%d"}}`, index) }

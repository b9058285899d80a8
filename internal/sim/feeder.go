package sim

import (
	"context"
	"errors"
	"fmt"

	"github.com/batchagent/batchagent/pkg/statestore"
)

// startFeeder begins the submission, from the start each time: what was fed before is skipped by the store.
func (w *world) startFeeder() { w.start(w.feeder, w.feed) }

func (w *world) feed(ctx context.Context, p *process, _ <-chan struct{}) error {
	s, err := w.connect(ctx, p)
	if err != nil {
		return err
	}
	defer s.Close()
	plan, err := w.cfg.plan()
	if err != nil {
		return err
	}
	if err := s.UntilKnown(ctx, func() error { return s.Create(ctx, w.cfg.header(), plan) }); err != nil {
		return err
	}
	for from := 0; from < w.cfg.jobs; from += w.cfg.chunk {
		var payloads [][]byte
		for i := from; i < min(from+w.cfg.chunk, w.cfg.jobs); i++ {
			payloads = append(payloads, payload(i))
		}
		err := s.UntilKnown(ctx, func() error {
			_, err := s.Feed(ctx, batchID, int64(from), payloads)
			return err
		})
		if errors.Is(err, statestore.ErrConflict) {
			break // cancelled, or an earlier feeder's seal arrived
		}
		if err != nil {
			return err
		}
		_ = s.Ring(ctx, statestore.Event{Kind: statestore.JobsWaiting, Batch: batchID})
	}
	err = s.UntilKnown(ctx, func() error {
		_, err := s.Seal(ctx, batchID, int64(w.cfg.jobs))
		return err
	})
	if !tolerable(err) {
		return err
	}
	return nil
}

// payload is a job's input in the form that package agent reads.
func payload(index int) []byte { return fmt.Appendf(nil, `{"in":{"n":"%d"}}`, index) }

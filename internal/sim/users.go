package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// startUser runs one command of a user in a process of its own.
func (w *world) startUser(name string, do func(context.Context, *statestore.Store) error) {
	w.users++
	w.busy++
	w.start(&slot{name: fmt.Sprintf("%s%d", name, w.users)}, func(ctx context.Context, p *process, _ <-chan struct{}) error {
		defer w.after(0, func() { w.busy-- })
		s, err := w.connect(ctx, p)
		if err != nil {
			return err
		}
		defer s.Close()
		return do(ctx, s)
	})
}

func (w *world) cancel(ctx context.Context, s *statestore.Store) error {
	ids := w.cfg.batches()
	slices.Reverse(ids) // the reducer first, like `coordinator cancel`
	if likely(w.chance.on("cancel"), 0.5) {
		ids = []batch.ID{batchID}
	}
	for _, id := range ids {
		err := s.UntilKnown(ctx, func() error {
			_, err := s.Cancel(ctx, id)
			return err
		})
		_ = s.Ring(ctx, statestore.Event{Kind: statestore.BatchCancelled, Batch: id})
		if !tolerable(err) {
			return err
		}
	}
	return nil
}

func (w *world) retry(ctx context.Context, s *statestore.Store) error {
	for _, id := range w.cfg.batches() {
		if id != batchID && likely(w.chance.on("retry of a stage", string(id), w.now().String()), 0.5) {
			continue
		}
		err := s.UntilKnown(ctx, func() error {
			_, err := s.Retry(ctx, id)
			return err
		})
		_ = s.Ring(ctx, statestore.Event{Kind: statestore.JobsWaiting, Batch: id})
		if !tolerable(err) {
			return err
		}
	}
	return nil
}

func (w *world) status(ctx context.Context, s *statestore.Store) error {
	info, err := s.Info(ctx, batchID)
	if err == nil {
		c := info.Counts
		if c.Running < 0 || c.Waiting < 0 || c.Waiting+c.Running+c.Finished() != c.Fed {
			return fmt.Errorf("status shows %+v", c)
		}
	}
	return unless(func(err error) bool { return tolerable(err) || statestore.Unreachable(err) }, err)
}

func unless(fine func(error) bool, err error) error {
	if fine(err) {
		return nil
	}
	return err
}

// close drains all processes, checks the final state, and removes the batch.
func (w *world) close() {
	w.trace.note("all processes leave")
	var leaving []*incarnation
	w.atRest(func() {
		w.calm()
		for _, s := range w.slots {
			if s.running != nil {
				leaving = append(leaving, s.running)
				s.drain()
			}
		}
	})
	for _, in := range leaving {
		<-in.ended
	}
	w.atRest(func() {
		leaving = append(leaving[:0], w.reads.running)
		w.reads.drain()
	})
	<-leaving[0].ended
	var states []*state // of w.checks
	w.atRest(func() {
		for _, k := range w.checks {
			found, err := w.redis.read(k.id)
			if err != nil {
				w.check.fail("sim", "%v", err)
				return
			}
			states = append(states, found)
			k.end(found)
		}
		if w.check.violation == nil && states[0].exists {
			w.follower.check(w.check, states)
		}
	})
	if w.check.violation != nil {
		return
	}
	done := make(chan struct{})
	w.atRest(func() {
		w.startUser("close", func(ctx context.Context, s *statestore.Store) error {
			defer close(done)
			for i, k := range w.checks {
				if err := w.compare(ctx, s, k, states[i]); err != nil {
					return err
				}
			}
			return w.remove(ctx, s)
		})
	})
	<-done
	w.atRest(func() {})
}

// compare checks the status that users see against the results.
func (w *world) compare(ctx context.Context, s *statestore.Store, k *checker, st *state) error {
	var info batch.Info
	err := s.UntilKnown(ctx, func() (err error) {
		info, err = s.Info(ctx, k.id)
		return err
	})
	if err != nil {
		return err
	}
	want := batch.Counts{Fed: int64(len(st.results)), Total: int64(len(st.results)), Takeovers: int64(k.takeovers)}
	for _, r := range st.results {
		var line batch.Result
		if err := json.Unmarshal([]byte(r.line), &line); err != nil {
			return fmt.Errorf("result of job %d: %w", r.index, err)
		}
		if line.Index != int64(r.index) || line.Status != r.status {
			return fmt.Errorf("result of job %d belongs to job %d", r.index, line.Index)
		}
		switch line.Status {
		case batch.OK:
			want.OK++
		case batch.StatusFailed:
			want.Failed++
		case batch.StatusCancelled:
			want.Cancelled++
		}
		want.Turns += int64(line.Turns)
		want.Usage.Add(line.Usage)
		want.Tools.Add(line.Tools)
	}
	got := info.Counts
	if k.retried {
		// The totals keep the usage of attempts that a retry repeated; the results do not.
		got.Turns, got.Usage, got.Tools = want.Turns, want.Usage, want.Tools
	}
	if got != want {
		return fmt.Errorf("status shows %+v; the results add up to %+v", got, want)
	}
	return nil
}

// remove drops the batch, by command or by its TTL, and checks that no key is left.
func (w *world) remove(ctx context.Context, s *statestore.Store) error {
	if w.chance.on("remove").IntN(2) == 0 {
		for _, id := range slices.Backward(w.cfg.batches()) {
			if err := s.UntilKnown(ctx, func() error { return s.Remove(ctx, id) }); err != nil && !errors.Is(err, statestore.ErrNotFound) {
				return err
			}
		}
	} else if err := sleep.For(ctx, w.cfg.ttl+time.Second); err != nil {
		return err
	}
	if _, err := s.List(ctx); err != nil {
		return err
	}
	for _, key := range w.redis.mini.Keys() {
		if strings.Contains(key, string(batchID)) || key == "ba:batches" || key == "ba:active" {
			return fmt.Errorf("key %s is left after the batch was removed", key)
		}
	}
	return nil
}

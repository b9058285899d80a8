package operation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/batchagent/batchagent/internal/earlier"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/outage"
	"github.com/batchagent/batchagent/internal/prefixorder"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// Submission is a batch in submission.
type Submission struct {
	ID    batch.ID
	Total int64 // jobs; 0 if a planner makes them
	Rows  int64 // inputs, of which Total were chosen to run
	Fed   int64 // jobs that Redis has, or 1 if it has the planner's one job

	// Key names the submission. The same key with the same spec and inputs finds the batch of an earlier Submit; with others it is
	// [statestore.ErrKeyUsed]. "" submits a new batch, unless an earlier Submit of the same batch was interrupted.
	Key       string
	ReuseFrom string // where Submit takes earlier results from; "" runs every job
	Rerun     Rerun  // rows of an earlier batch that run again; the zero value runs every job

	load     Content
	selected Selection
	whole    bool // Redis already had all jobs
	durable  bool
	store    *statestore.Store
	notify   notice.Func
	wait     outage.Wait
	reuse    *earlier.Reuse // nil before Reuse
	kept     *earlier.Rerun // nil before KeepRows
	arranged bool
	sorted   *prefixorder.Sorter // nil feeds the jobs in the order of the inputs
}

// Close releases the inputs.
func (s *Submission) Close() error {
	if s.reuse != nil {
		s.reuse.Close()
	}
	if s.kept != nil {
		s.kept.Close()
	}
	var err error
	if s.sorted != nil {
		err = s.sorted.Close()
	}
	return errors.Join(err, s.load.close())
}

// fed returns the batch to feed and its number of jobs: the planner with 1 job if there is one.
func (s *Submission) fed() (id batch.ID, total int64) {
	if s.load.Planner != nil {
		return s.ID.ForStage(batch.StagePlan), 1
	}
	return s.ID, s.Total
}

// Compiled returns the compiled spec without inputs. The caller must not change it.
func (s *Submission) Compiled() *spec.Compiled { return s.load.Compiled }

// Submit submits the batch. If an earlier submission of the same batch was interrupted, it submits only the missing
// jobs. It waits through outages of Redis. The batch starts to run with its first jobs.
func (s *Submission) Submit(ctx context.Context, store *statestore.Store) error {
	if err := s.arrange(ctx); err != nil {
		return err
	}
	fingerprint, err := s.fingerprint()
	if err != nil {
		return err
	}
	return s.submit(ctx, store, func(fresh batch.ID) (batch.ID, error) {
		return store.Submission(ctx, fingerprint, fresh)
	})
}

// SubmitOnce is Submit with a key from the caller. A second call with the same key, spec and inputs creates no second
// batch. The same key with another spec or other inputs returns [statestore.ErrKeyUsed]. An empty key always creates a
// new batch. SubmitOnce reports whether the batch existed before.
func (s *Submission) SubmitOnce(ctx context.Context, store *statestore.Store, key string) (before bool, err error) {
	if err := s.arrange(ctx); err != nil {
		return false, err
	}
	var fingerprint string
	if key != "" {
		if fingerprint, err = s.fingerprint(); err != nil {
			return false, err
		}
	}
	err = s.submit(ctx, store, func(fresh batch.ID) (batch.ID, error) {
		if key == "" {
			return fresh, nil
		}
		id, err := store.Once(ctx, key, fingerprint, fresh)
		before = err == nil && id != fresh
		return id, err
	})
	if before && s.whole {
		err = nil // the submission is complete; the later state of the batch does not matter
	}
	return before, err
}

// submit creates the batch with the ID that book returns, and feeds it.
func (s *Submission) submit(ctx context.Context, store *statestore.Store, book func(fresh batch.ID) (batch.ID, error)) error {
	s.store, s.wait = store, outage.Wait{Store: store, Notify: s.notify}
	if s.durable {
		err := s.wait.Do(ctx, func() error { return store.DurableNow(ctx) })
		if errors.Is(err, statestore.ErrNotDurable) {
			return fault.Usagef("durable: %w", err)
		}
		if err != nil {
			return err
		}
	}
	if err := s.begin(ctx, book); err != nil {
		return err
	}
	if err := s.feedAll(ctx); err != nil {
		return s.partError(err, false)
	}
	if s.durable {
		return s.partError(s.awaitDurable(ctx), true)
	}
	if s.reuse != nil {
		s.notify.Send(notice.Reused, "%s", s.reuse.Summary(s.Total))
	}
	if s.kept != nil {
		s.notify.Send(notice.Reused, "%s", s.kept.Summary())
	}
	return nil
}

// PartError reports that a submission ended before all its jobs were submitted, or before they were safe. The submitted jobs
// run, and the same submission again submits the rest.
type PartError struct {
	Batch      batch.ID
	Stage      batch.ID // the batch that was fed: Batch, or its planner
	Fed, Total int64    // jobs of Stage that are submitted, and all of them
	Unsafe     bool     // all are submitted, but Redis did not confirm that they survive its loss
	Err        error
}

func (e *PartError) Error() string { return e.Err.Error() }
func (e *PartError) Unwrap() error { return e.Err }

func (s *Submission) partError(err error, unsafe bool) error {
	if err == nil || !unsafe && errors.Is(err, fault.ErrJobsFailed) {
		return err
	}
	id, total := s.fed()
	return &PartError{Batch: s.ID, Stage: id, Fed: s.Fed, Total: total, Unsafe: unsafe, Err: err}
}

// durableWithin limits the wait for replicas and disks.
const durableWithin = 30 * time.Second

// awaitDurable waits until the batch survives a loss of its server. It feeds jobs again that a failover lost meanwhile.
func (s *Submission) awaitDurable(ctx context.Context) error {
	where := ""
	id, total := s.fed()
	durable := func() error {
		return s.wait.Do(ctx, func() (err error) {
			where, err = s.store.Durable(ctx, id, total, durableWithin)
			return err
		})
	}
	err := durable()
	for errors.Is(err, statestore.ErrConflict) && ctx.Err() == nil {
		s.Fed = 0
		if err = s.feedAll(ctx); err == nil {
			err = durable()
		}
	}
	if err != nil {
		return err
	}
	s.notify.Send(notice.Durable, "batch %s is safe: %s", s.ID, where)
	return nil
}

// begin finds the batch to resume, or creates one.
func (s *Submission) begin(ctx context.Context, book func(fresh batch.ID) (batch.ID, error)) error {
	fresh := statestore.NewID(time.Now())
	err := s.wait.Do(ctx, func() (err error) {
		s.ID, err = book(fresh)
		return err
	})
	if err != nil {
		return err
	}
	s.load.sorted = s.sorted != nil
	err = s.wait.Do(ctx, func() error { return Create(ctx, s.store, s.ID, s.load) })
	if err != nil || s.ID == fresh {
		return err
	}
	id, total := s.fed()
	var info batch.Info
	err = s.wait.Do(ctx, func() error {
		info, err = s.store.Info(ctx, id)
		return err
	})
	s.Fed, s.whole = info.Counts.Fed, info.Counts.Total == total
	if err == nil {
		s.notify.Send(notice.Resumed, "resuming batch %s: %s of %s jobs are already submitted", s.ID, human.Count(s.Fed), human.Count(total))
	}
	return err
}

// Announced records that the user has the batch's ID: the same spec then creates another batch.
func (s *Submission) Announced(ctx context.Context) error {
	fingerprint, err := s.fingerprint()
	if err != nil {
		return err
	}
	return s.wait.Do(ctx, func() error { return s.store.Announced(ctx, fingerprint, s.ID) })
}

func (s *Submission) feedAll(ctx context.Context) error {
	id, total := s.fed()
	ring := func() {
		// A lost ring is harmless: workers also poll.
		_ = s.store.Ring(ctx, statestore.Event{Kind: statestore.JobsWaiting, Batch: id})
	}
	place := int64(0)
	for chunk, err := range Chunks(s.jobs(ctx)) {
		if err != nil {
			return err
		}
		from := place
		place += int64(len(chunk.Payloads))
		if place <= s.Fed {
			continue
		}
		err = s.wait.Do(ctx, func() error {
			s.Fed, err = s.store.FeedSorted(ctx, id, from, chunk.Indexes, chunk.Rests, chunk.Payloads)
			return err
		})
		if err != nil {
			return s.conflict(ctx, err)
		}
		ring()
	}
	err := s.wait.Do(ctx, func() error {
		_, err := s.store.Seal(ctx, id, total)
		return err
	})
	if err != nil {
		return s.conflict(ctx, err)
	}
	ring()
	return nil
}

// conflict returns the reason why a batch accepts no more jobs. It returns nil if another command has completed the
// same submission at the same time.
func (s *Submission) conflict(ctx context.Context, err error) error {
	if !errors.Is(err, statestore.ErrConflict) {
		return err
	}
	id, total := s.fed()
	info, lookErr := s.store.Info(ctx, id)
	switch {
	case lookErr != nil:
		return err
	case info.Phase == batch.Cancelling || info.Counts.Cancelled > 0:
		return fmt.Errorf("batch %s was cancelled while it was being submitted: %w", s.ID, fault.ErrJobsFailed)
	case info.Counts.Total == total:
		s.Fed = total
		return nil
	}
	return err
}

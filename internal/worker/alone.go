package worker

import (
	"context"
	"slices"
	"time"
)

// A job may have killed its workers if all its attempts lost theirs. Its last attempt therefore runs alone; see
// [statestore.Store.Claim]. An idle worker gets such a job when its batch has no other jobs. While all workers are busy
// with other batches, one of them becomes the standby for the job: it claims from no other batch, lets its agents end, and runs
// these jobs one at a time.

// volunteer offers this worker as the standby of a batch that had no job for it, at most once per poll. Redis decides. A
// standby of this batch stops, because no such jobs are left.
func (w *Worker) volunteer(ctx context.Context, work *work) error {
	if w.standby == work.id {
		w.standby = ""
		w.poke()
	}
	if w.standby != "" || w.liveCount() == 0 || time.Since(work.offered) < w.poll() {
		return nil
	}
	work.offered = time.Now()
	yes, err := w.cfg.Store.Volunteer(ctx, work.id, w.cfg.Consumer, w.cfg.Lease)
	if err != nil || !yes {
		return err
	}
	w.standby = work.id
	w.log.Info("claiming nothing else until jobs that may kill their worker have run alone", "batch", work.id, "live_agents", w.liveCount())
	return nil
}

// claimable returns the batches in open that this worker may claim from now. A standby worker claims only from its
// batch, and only after its last agent has ended.
func (w *Worker) claimable(ctx context.Context, open []*work) ([]*work, error) {
	if w.standby == "" {
		return open, nil
	}
	if i := slices.IndexFunc(open, func(b *work) bool { return b.id == w.standby }); i >= 0 {
		yes, err := w.cfg.Store.Volunteer(ctx, w.standby, w.cfg.Consumer, w.cfg.Lease)
		switch {
		case err != nil:
			return nil, err
		case yes && w.liveCount() > 0:
			return nil, nil
		case yes:
			return open[i : i+1], nil
		}
	}
	w.standby = ""
	return open, nil
}

// occupied reports whether a job that must run alone runs here.
func (w *Worker) occupied() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.live) != 1 {
		return false // nothing else is admitted beside such a job
	}
	for _, a := range w.live {
		return a.alone
	}
	return false
}

// poll returns how often the worker looks for work without a ring.
func (w *Worker) poll() time.Duration { return min(idlePoll, w.cfg.Lease/5) }

package worker

import (
	"context"
	"slices"
	"time"
)

// A job whose attempts all ended with their workers gone may be what killed them, so its last attempt runs with nothing
// beside it; see [statestore.Store.Claim]. An idle worker gets such a job when its batch has no others to give. While all
// workers are busy with other batches, one of them stands by for it: it claims from no other batch, lets its agents end, and
// takes these jobs one after the other.

// volunteer asks whether this worker shall stand by for a batch that had no job for it, at most once a poll. If it stood by
// for that one, nothing is left to stand by for.
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

// claimable are the batches among open that this worker may claim from now. While it stands by for one of them, that is no
// other, and not even that one before the last agent has ended.
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

// occupied reports whether a job runs here that must run alone.
func (w *Worker) occupied() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.live) != 1 {
		return false // nothing is admitted beside such a job
	}
	for _, a := range w.live {
		return a.alone
	}
	return false
}

// poll is how often the worker looks for work when nobody rings.
func (w *Worker) poll() time.Duration { return min(idlePoll, w.cfg.Lease/5) }

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
func (c *claimer) volunteer(ctx context.Context, b *openBatch) error {
	if c.standby == b.id {
		c.standby = ""
		c.claim.send()
	}
	if c.standby != "" || c.live.count() == 0 || time.Since(b.offered) < c.poll() {
		return nil
	}
	b.offered = time.Now()
	yes, err := c.store.Volunteer(ctx, b.id, c.consumer, c.leaseFor)
	if err != nil || !yes {
		return err
	}
	c.standby = b.id
	c.log.Info("claiming nothing else until jobs that may kill their worker have run alone", "batch", b.id, "live_agents", c.live.count())
	return nil
}

// claimable returns the batches in open that this worker may claim from now. A standby worker claims only from its
// batch, and only after its last agent has ended.
func (c *claimer) claimable(ctx context.Context, open []*openBatch) ([]*openBatch, error) {
	if c.standby == "" {
		return open, nil
	}
	if i := slices.IndexFunc(open, func(b *openBatch) bool { return b.id == c.standby }); i >= 0 {
		yes, err := c.store.Volunteer(ctx, c.standby, c.consumer, c.leaseFor)
		switch {
		case err != nil:
			return nil, err
		case yes && c.live.count() > 0:
			return nil, nil
		case yes:
			return open[i : i+1], nil
		}
	}
	c.standby = ""
	return open, nil
}

// poll returns how often the worker looks for work without a ring.
func (c *claimer) poll() time.Duration { return min(idlePoll, c.leaseFor/5) }

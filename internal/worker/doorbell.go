package worker

import (
	"context"
	"time"

	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// listenFor is how long one read at the doorbell waits.
const listenFor = time.Second

// doorbell receives new jobs and cancellations. It belongs to one goroutine.
type doorbell struct {
	store   *statestore.Store
	batches *batches
	live    *liveJobs
	claim   signal
}

// listen waits at the doorbell until ctx is done. A ring is a hint: the claim loop also polls.
func (d *doorbell) listen(ctx context.Context) {
	position, broken := "", false
	for ctx.Err() == nil {
		var events []statestore.Event
		var err error
		if position == "" {
			position, err = d.store.EventPosition(ctx)
		} else {
			events, position, err = d.store.Listen(ctx, position, listenFor)
		}
		if err != nil {
			broken = true
			_ = sleep.For(ctx, listenFor)
			continue
		}
		if broken {
			// A read is always under way here, so that every restart of Redis breaks it.
			broken = false
			d.batches.doubtAll()
			d.claim.send()
		}
		for _, e := range events {
			switch e.Kind {
			case statestore.JobsWaiting:
				d.batches.stale()
				d.claim.send()
			case statestore.BatchCancelled:
				d.live.cancelBatch(e.Batch)
				d.claim.send()
			}
		}
	}
}

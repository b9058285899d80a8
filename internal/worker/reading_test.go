package worker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/scheduler"
)

func TestReadingsAndCallsReachTheLedger(t *testing.T) {
	t.Parallel()
	d := admission{claim: make(signal, 1)}
	r := &backend.Request{Messages: []backend.Message{{Content: string(make([]byte, 4_000))}}, Hints: backend.Hints{Session: "young"}}
	load := backend.Load{Running: 1, KVUsage: 0.6, Preemptions: -1}
	assert.Same(t, r, d.ranked(r), "the size of the cache is unknown")
	d.sent(r)
	d.failed(r)
	d.observed(load)
	assert.Equal(t, time.Minute, d.worth())

	l := scheduler.NewLedger(scheduler.LedgerConfig{Capacity: 10_000})
	d.ledger.Store(l)
	l.Declare("b", 0, 8)
	l.Start("old", "b", 4_000, 0, nil)
	l.Start("young", "b", 4_000, 0, nil)
	assert.Equal(t, 1, d.ranked(r).Hints.Rank)
	assert.Zero(t, r.Hints.Rank, "the request of the agent stays as it is")

	budget := func() int {
		for range 3 {
			d.observed(load)
		}
		return l.State().Budget
	}
	d.sent(r)
	assert.InDelta(t, 4_000+1_000+250, budget(), 100, "other clients hold what our calls do not")
	d.failed(r)
	assert.InDelta(t, 4_000, budget(), 100)
	load.KVUsage = 0
	assert.Equal(t, 10_000, budget())
}

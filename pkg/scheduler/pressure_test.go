package scheduler

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

func TestServerQueue(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		q    ServerQueue
		live int
		want int // of 10
	}{
		{"no reading", ServerQueue{}, 3, 10},
		{"an idle server", ServerQueue{Running: 0, Waiting: 0}, 3, 10},
		{"a busy server", ServerQueue{Running: 100, Waiting: 100}, 200, 10},
		{"more wait than run", ServerQueue{Running: 100, Waiting: 101}, 200, 0},
		{"a few may always wait", ServerQueue{Running: 2, Waiting: 8}, 10, 10},
		{"more than a few may not wait", ServerQueue{Running: 2, Waiting: 9}, 10, 0},
		{"waiting is not reported", ServerQueue{Running: 2, Waiting: -1}, 10, 10},
		{"running is not reported", ServerQueue{Running: -1, Waiting: 9}, 10, 0},
		{"a stale reading", ServerQueue{Running: 2, Waiting: 9, Age: queueKept + 1}, 10, 10},
		{"other clients keep it full", ServerQueue{Running: 2, Waiting: 9}, 0, 1},
	} {
		assert.Equal(t, c.want, c.q.Fresh(c.live, 10), c.name)
	}
	assert.Zero(t, ServerQueue{Waiting: 100}.Fresh(0, 0), "a worker without room claims nothing")
	assert.Zero(t, ClaimSize(Snapshot{Ready: true, MaxAgents: 9, LiveAgents: 1, Slots: 9, Server: ServerQueue{Waiting: 100}}))
}

// For any reading, a worker without live agents continues, and one with live agents never gets more than its limit.
func TestServerQueueAlwaysAdmitsOneAgent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(-1, 1_000)
		q := ServerQueue{
			Running: n.Draw(rt, "running"), Waiting: n.Draw(rt, "waiting"),
			Age: time.Duration(rapid.IntRange(-1, 20).Draw(rt, "age")) * time.Second,
		}
		limit, live := rapid.IntRange(1, 100).Draw(rt, "limit"), rapid.IntRange(0, 100).Draw(rt, "live")
		assert.GreaterOrEqual(rt, q.Fresh(0, limit), 1)
		got := q.Fresh(live, limit)
		assert.True(rt, got >= 0 && got <= limit)
		if q.Waiting <= minCeiling {
			assert.Equal(rt, limit, got, "a server without a queue is never slowed")
		}
	})
}

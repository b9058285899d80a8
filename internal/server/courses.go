package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

const (
	// historiesKept limits the number of batches with a history, and pointsKept the points of each.
	historiesKept = 256
	pointsKept    = 240
	// rateOver is the time over which a rate is measured.
	rateOver = 30 * time.Second
	// lookTimeout limits one read of Redis for the dashboard.
	lookTimeout = 5 * time.Second
)

// point is a snapshot of a batch.
type point struct {
	At                    time.Time
	OK, Failed, Cancelled int64
	Running               int64
}

func (p point) finished() int64 { return p.OK + p.Failed + p.Cancelled }

// history is the course of a batch. When it is full, every second point is dropped, so that it always spans the whole
// time.
type history struct {
	points []point
	recent []point // the last rateOver, and one point before
}

func (h *history) add(p point) {
	h.recent = append(h.recent, p)
	for len(h.recent) > 2 && p.At.Sub(h.recent[1].At) >= rateOver {
		h.recent = h.recent[1:]
	}
	// The distance of points is at least the whole time divided by pointsKept.
	if n := len(h.points); n > 1 && p.At.Sub(h.points[n-2].At) < p.At.Sub(h.points[0].At)/pointsKept {
		h.points[n-1] = p
		return
	}
	if len(h.points) == pointsKept {
		half := h.points[:0]
		for i, old := range h.points {
			if i%2 == 0 {
				half = append(half, old)
			}
		}
		h.points = half
	}
	h.points = append(h.points, p)
}

// rate returns the jobs per second over the last rateOver; 0 if unknown.
func (h *history) rate() float64 {
	if len(h.recent) < 2 {
		return 0
	}
	first, last := h.recent[0], h.recent[len(h.recent)-1]
	n, d := last.finished()-first.finished(), last.At.Sub(first.At).Seconds()
	if n <= 0 || d <= 0 {
		return 0
	}
	return float64(n) / d
}

// courses records the progress over time of active batches for the dashboard. It is safe for concurrent use.
type courses struct {
	store *statestore.Store

	mu        sync.Mutex
	histories *lru.Cache[batch.ID, *history] // guarded by mu
}

func newCourses(store *statestore.Store) *courses {
	cache, err := lru.New[batch.ID, *history](historiesKept)
	if err != nil {
		panic(err) // the size is a constant above 0
	}
	return &courses{store: store, histories: cache}
}

// record reads the active batches at an interval until ctx is done. It records nothing while Redis is away.
func (c *courses) record(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	known := map[batch.ID]bool{}
	for {
		known = c.recordActive(ctx, known)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// recordActive adds a point to every active batch, and a last point to batches that were active before. It returns the active
// batches.
func (c *courses) recordActive(ctx context.Context, before map[batch.ID]bool) map[batch.ID]bool {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	active, err := c.store.Active(ctx)
	if err != nil {
		return before
	}
	now := map[batch.ID]bool{}
	for _, id := range active[max(0, len(active)-historiesKept):] {
		now[id] = true
	}
	for id := range now {
		c.recordPoint(ctx, id)
		delete(before, id)
	}
	for id := range before {
		c.recordPoint(ctx, id)
	}
	return now
}

func (c *courses) recordPoint(ctx context.Context, id batch.ID) {
	info, err := c.store.Info(ctx, id)
	if err != nil {
		if errors.Is(err, statestore.ErrNotFound) {
			c.mu.Lock()
			c.histories.Remove(id)
			c.mu.Unlock()
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.histories.Get(id)
	if !ok {
		h = &history{}
		c.histories.Add(id, h)
		h.add(point{At: info.CreatedAt})
	}
	at := time.Now()
	if info.Phase == batch.Done {
		at = info.DoneAt
	}
	n := info.Counts
	if last := h.points[len(h.points)-1]; at.After(last.At) {
		h.add(point{At: at, OK: n.OK, Failed: n.Failed, Cancelled: n.Cancelled, Running: n.Running})
	}
}

// course returns a copy of a batch's history.
func (c *courses) course(id batch.ID) []point {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.histories.Get(id)
	if !ok {
		return nil
	}
	return append([]point(nil), h.points...)
}

// rate returns a batch's jobs per second. For a batch that is done it is the average over its life. Otherwise it is the
// recent rate, or the average since its start if it is not recorded yet.
func (c *courses) rate(info batch.Info) float64 {
	if info.Phase != batch.Done {
		c.mu.Lock()
		h, ok := c.histories.Peek(info.ID)
		var lately float64
		if ok {
			lately = h.rate()
		}
		seen := ok && len(h.recent) > 1
		c.mu.Unlock()
		if seen {
			return lately
		}
	}
	end := time.Now()
	if info.Phase == batch.Done {
		end = info.DoneAt
	}
	if d := end.Sub(info.CreatedAt).Seconds(); d > 0 {
		return float64(info.Counts.Finished()) / d
	}
	return 0
}

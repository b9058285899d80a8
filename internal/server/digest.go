package server

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

const (
	// Limits of a digest: its size does not grow with the number of results.
	slowestKept  = 10
	failuresKept = 8
	latestKept   = 8
	// digestBudget limits the time that one look reads results. The next look reads on.
	digestBudget = 400 * time.Millisecond
	digestAtOnce = 500
)

// brief is a result without its long fields.
type brief struct {
	Cursor, Index int64
	ID            string
	Status        batch.Status
	Type          batch.ErrorType
	Message       string
	WallMS        int64
	Turns         int
	Worker        string
	Output        string
}

// Spread counts the jobs in a range of durations.
type Spread struct {
	Below time.Duration // upper bound; 0 means unlimited
	Jobs  int64
}

var spreadBounds = []time.Duration{
	100 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, 0,
}

// Sums sums up the results of a batch that were read so far.
type Sums struct {
	Read     int64 // number of results
	Whole    bool  // all results in Redis were read
	Tally    collect.Tally
	Slowest  []brief // slowest first
	Failures []brief // newest first
	Latest   []brief // newest first
	Spread   []Spread
}

// digest sums up the results of one batch for the dashboard. It is safe for concurrent use.
type digest struct {
	mu    sync.Mutex
	after int64 // guarded by mu, like the fields below
	sums  Sums
}

// look reads further results for up to digestBudget, and returns a copy of the sums.
func (d *digest) look(ctx context.Context, store *statestore.Store, id batch.ID) (Sums, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	end := time.Now().Add(digestBudget)
	d.sums.Whole = false
	for !d.sums.Whole && time.Now().Before(end) {
		entries, err := store.Results(ctx, id, d.after, digestAtOnce)
		if err != nil {
			return Sums{}, err
		}
		for _, e := range entries {
			if err := d.add(id, e); err != nil {
				return Sums{}, err
			}
		}
		d.sums.Whole = len(entries) < digestAtOnce
	}
	// The sums still contain results that a retry took back. If they exceed the finished jobs of the batch, start over.
	info, err := store.Info(ctx, id)
	if err != nil {
		return Sums{}, err
	}
	if d.sums.Read > info.Counts.Finished() {
		d.after, d.sums = 0, Sums{}
	}
	return d.copy(), nil
}

func (d *digest) add(id batch.ID, e statestore.Entry) error {
	var r batch.Result
	if err := json.Unmarshal(e.Line, &r); err != nil {
		return fmt.Errorf("decode result %d of batch %s: %w", e.Cursor, id, err)
	}
	s := &d.sums
	d.after = e.Cursor
	s.Read++
	s.Tally.Add(r)
	b := brief{Cursor: e.Cursor, Index: r.Index, ID: r.ID, Status: r.Status, WallMS: r.WallMS, Turns: r.Turns, Worker: r.Worker, Output: excerpt(string(r.Output), 160)}
	if r.Error != nil {
		b.Type, b.Message = r.Error.Type, excerpt(r.Error.Message, 300)
	}
	if s.Spread == nil {
		for _, below := range spreadBounds {
			s.Spread = append(s.Spread, Spread{Below: below})
		}
	}
	took := time.Duration(r.WallMS) * time.Millisecond
	s.Spread[slices.IndexFunc(spreadBounds, func(below time.Duration) bool { return below == 0 || took < below })].Jobs++
	if len(s.Slowest) < slowestKept || b.WallMS > s.Slowest[len(s.Slowest)-1].WallMS {
		s.Slowest = append(s.Slowest, b)
		slices.SortStableFunc(s.Slowest, func(x, y brief) int { return cmp.Compare(y.WallMS, x.WallMS) })
		s.Slowest = s.Slowest[:min(len(s.Slowest), slowestKept)]
	}
	s.Latest = latest(s.Latest, b, latestKept)
	if b.Status == batch.StatusFailed {
		s.Failures = latest(s.Failures, b, failuresKept)
	}
	return nil
}

// latest prepends b and keeps n results.
func latest(others []brief, b brief, n int) []brief {
	return append([]brief{b}, others[:min(len(others), n-1)]...)
}

func (d *digest) copy() Sums {
	s := d.sums
	s.Slowest, s.Failures, s.Latest, s.Spread = slices.Clone(s.Slowest), slices.Clone(s.Failures), slices.Clone(s.Latest), slices.Clone(s.Spread)
	byType := make(map[batch.ErrorType]int64, len(s.Tally.ByType))
	for t, n := range s.Tally.ByType {
		byType[t] = n
	}
	s.Tally.ByType = byType
	return s
}

// sums returns the sums over a batch's results.
func (s *Server) sums(ctx context.Context, id batch.ID) (Sums, error) {
	fresh := &digest{}
	d := fresh
	if old, known, _ := s.digests.PeekOrAdd(id, fresh); known {
		d = old
		s.digests.Get(id) // mark it as recently used
	}
	return d.look(ctx, s.store, id)
}

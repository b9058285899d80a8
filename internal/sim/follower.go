package sim

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// reader is a process that collects the results for a user.
type reader interface {
	run(ctx context.Context, p *process, drain <-chan struct{}) error
	// check compares the collected results with the final state of the batches in Redis.
	check(k *checker, states []*state)
}

// follower reads the results by cursor while they are committed, as `results --follow` does.
type follower struct {
	world *world
	seen  []statestore.Entry // read after the run
}

func (f *follower) run(ctx context.Context, p *process, drain <-chan struct{}) error {
	s, err := f.world.connect(ctx, p)
	if err != nil {
		return err
	}
	defer s.Close()
	cursor := int64(0)
	for ctx.Err() == nil {
		n := 1 + f.world.chance.on("follow", strconv.FormatInt(cursor, 10)).IntN(20)
		got, err := s.AwaitResults(ctx, batchID, cursor, n, time.Second)
		if err != nil && !statestore.Unreachable(err) {
			return err
		}
		if err != nil {
			_ = sleep.For(ctx, time.Second)
			continue
		}
		for _, e := range got {
			f.seen = append(f.seen, e)
			cursor = e.Cursor
		}
		select {
		case <-drain:
			if len(got) == 0 {
				return nil
			}
		default:
		}
	}
	return ctx.Err()
}

// check compares the seen results with the final ones. A result that a retry removed may or may not have been seen. Every other
// result must have been seen exactly once.
func (f *follower) check(k *checker, states []*state) {
	st := states[0]
	last := int64(0)
	seen := make(map[int64]int64)
	for _, e := range f.seen {
		if e.Cursor <= last {
			k.fail("I2", "a follower saw result %d after result %d", e.Cursor, last)
		}
		last = e.Cursor
		seen[e.Cursor] = e.Index
	}
	kept := make(map[int64]bool)
	for _, r := range st.results {
		kept[int64(r.seq)] = true
		index, ok := seen[int64(r.seq)]
		if !ok || index != int64(r.index) {
			k.fail("I2", "a follower did not see result %d of job %d", r.seq, r.index)
		}
	}
	for _, e := range f.seen {
		if !kept[e.Cursor] && e.Status != batch.StatusFailed {
			k.fail("I2", "a follower saw result %d of job %d; it was removed although the job had not failed", e.Cursor, e.Index)
		}
	}
	if !k.retried {
		indexes := make([]int64, 0, len(f.seen))
		for _, e := range f.seen {
			if slices.Contains(indexes, e.Index) {
				k.fail("I2", "a follower saw job %d twice", e.Index)
			}
			indexes = append(indexes, e.Index)
		}
	}
}

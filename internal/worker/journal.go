package worker

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// maxTurnBytes limits the turns of one script call, except that a call has at least one turn.
const maxTurnBytes = 1 << 20

// Append implements [agent.Journal].
func (s *session) Append(ctx context.Context, turn int, data []byte) error {
	if err := s.bind(ctx); err != nil {
		return err
	}
	s.journalled = true
	err := s.journals.append(ctx, statestore.JournalTurn{Lease: s.lease, Number: turn, Data: data})
	s.pace(s.lease.Job) // one reply lets several agents continue
	return err
}

// journals appends the turns of all sessions to their journals in Redis. Turns of one batch gather while a call is under way, as
// results do in the [committer]. Safe for concurrent use.
type journals struct {
	store *statestore.Patient
	pace  func(batch.Job)
	life  context.Context // of the script calls; set by Worker.Run before the first one
	calls sync.WaitGroup  // the goroutines that make the calls, one per batch with waiting turns

	mu      sync.Mutex
	waiting map[batch.ID][]*waitingTurn // guarded by mu; at most one turn per live job; an element per running goroutine
}

// waitingTurn is a turn that was not sent, or whose call has not returned.
type waitingTurn struct {
	statestore.JournalTurn
	session context.Context // the turn is dropped when it ends
	written chan error      // capacity 1
}

func newJournals(store *statestore.Patient, pace func(batch.Job)) *journals {
	return &journals{store: store, pace: pace, waiting: map[batch.ID][]*waitingTurn{}}
}

// append returns when the turn is in the journal or refused, or when ctx ends. In the last case the turn may or may not be
// appended.
func (j *journals) append(ctx context.Context, t statestore.JournalTurn) error {
	turn := &waitingTurn{t, ctx, make(chan error, 1)}
	j.queue(t.Lease.Job.Batch, turn)
	select {
	case err := <-turn.written:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// queue adds a turn, and starts the batch's goroutine unless it runs.
func (j *journals) queue(id batch.ID, turn *waitingTurn) {
	j.mu.Lock()
	defer j.mu.Unlock()
	turns, running := j.waiting[id]
	j.waiting[id] = append(turns, turn)
	if !running {
		j.calls.Go(func() { j.writeAll(id) })
	}
}

// writeAll writes the turns of a batch until none is left.
func (j *journals) writeAll(id batch.ID) {
	for {
		j.pace(batch.Job{Batch: id, Index: -1})
		turns := j.take(id)
		if len(turns) == 0 {
			return
		}
		j.write(id, turns)
	}
}

// take removes up to one script call's worth of turns. Without turns it also removes the batch.
func (j *journals) take(id batch.ID) []*waitingTurn {
	j.mu.Lock()
	defer j.mu.Unlock()
	waiting, n, size := j.waiting[id], 0, 0
	for n < min(len(waiting), statestore.MaxCheckpoint) && (n == 0 || size+len(waiting[n].Data) <= maxTurnBytes) {
		size += len(waiting[n].Data)
		n++
	}
	turns := slices.Clone(waiting[:n])
	if j.waiting[id] = slices.Delete(waiting, 0, n); n == 0 {
		delete(j.waiting, id)
	}
	// In a fixed order, so that a simulated run can be replayed.
	slices.SortFunc(turns, func(x, y *waitingTurn) int { return cmp.Compare(x.Lease.Token, y.Lease.Token) })
	return turns
}

// write makes one script call and distributes the outcomes. It keeps trying during an outage of Redis, without the turns of
// sessions that have ended meanwhile.
func (j *journals) write(id batch.ID, turns []*waitingTurn) {
	errs, err := j.store.CheckpointAll(j.life, id, func() []statestore.JournalTurn {
		turns = slices.DeleteFunc(turns, func(t *waitingTurn) bool { return t.session.Err() != nil })
		now := make([]statestore.JournalTurn, len(turns))
		for i, t := range turns {
			now[i] = t.JournalTurn
		}
		return now
	})
	for i, t := range turns {
		if err == nil {
			t.written <- errs[i]
		} else {
			t.written <- err
		}
	}
}

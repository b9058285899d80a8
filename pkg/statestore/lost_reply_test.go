package statestore_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// anotherID is a batch ID that no other history uses.
const anotherID batch.ID = "b_01hf7yat2a248q8hj1w0cwt65d"

// TestLostReply calls each repeatable method once with its reply lost after the server executed it, and then again. The state
// must equal the state after a single call.
func TestLostReply(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		verb    string
		request string // a part of its request
		// prepare sets up the state that the method needs, and returns the call.
		prepare func(w *world, id batch.ID) (verb func() error)
	}{
		{"create", "eval", func(w *world, id batch.ID) func() error {
			return func() error {
				return w.store.Create(w.Context(), batch.Header{ID: anotherID, MaxAttempts: 3, TTL: time.Hour}, []byte("plan"))
			}
		}},
		{"create, listing", "zadd", func(w *world, id batch.ID) func() error {
			return func() error {
				return w.store.Create(w.Context(), batch.Header{ID: anotherID, MaxAttempts: 3, TTL: time.Hour}, []byte("plan"))
			}
		}},
		{"submission", "ba:submit:", func(w *world, id batch.ID) func() error {
			return func() error {
				got, err := w.store.Submission(w.Context(), "fingerprint", id)
				if err == nil {
					assert.Equal(w, id, got)
				}
				return err
			}
		}},
		{"announced", "eval", func(w *world, id batch.ID) func() error {
			_, err := w.store.Submission(w.Context(), "fingerprint", id)
			require.NoError(w, err)
			return func() error { return w.store.Announced(w.Context(), "fingerprint", id) }
		}},
		{"feed", "eval", func(w *world, id batch.ID) func() error {
			return func() error {
				fed, err := w.store.Feed(w.Context(), id, 6, payloads(6, 3))
				if err == nil {
					assert.EqualValues(w, 9, fed)
				}
				return err
			}
		}},
		{"seal", "eval", func(w *world, id batch.ID) func() error {
			return func() error { return fails(w.store.Seal(w.Context(), id, 6)) }
		}},
		{"seal, the last step", "eval", func(w *world, id batch.ID) func() error {
			w.finishAll(id, w.claim(id, "a", 6))
			return func() error {
				phase, err := w.store.Seal(w.Context(), id, 6)
				if err == nil {
					assert.Equal(w, batch.Done, phase)
				}
				return err
			}
		}},
		{"renew", "eval", func(w *world, id batch.ID) func() error {
			l := leases(w.claim(id, "a", 3))
			return func() error {
				_, fenced, err := w.store.Renew(w.Context(), id, "a", w.lease, l)
				assert.Empty(w, fenced)
				return err
			}
		}},
		{"checkpoint", "eval", func(w *world, id batch.ID) func() error {
			l := w.one(id, "a").Lease
			w.checkpoint(l, 1, "one")
			return func() error { return w.store.Checkpoint(w.Context(), l, 2, []byte("two")) }
		}},
		{"finish", "eval", func(w *world, id batch.ID) func() error {
			jobs := w.claim(id, "a", 3)
			w.checkpoint(jobs[1].Lease, 1, "one")
			return func() error {
				_, _, err := w.store.Finish(w.Context(), id, []statestore.Completion{
					succeeded(jobs[0].Lease), failed(jobs[1].Lease, batch.Timeout), cancelled(jobs[2].Lease),
				})
				return err
			}
		}},
		{"finish, the last job", "eval", func(w *world, id batch.ID) func() error {
			w.seal(id, 6)
			jobs := w.claim(id, "a", 6)
			w.finishAll(id, jobs[:5])
			return func() error {
				phase, _, err := w.store.Finish(w.Context(), id, []statestore.Completion{succeeded(jobs[5].Lease)})
				if err == nil {
					assert.Equal(w, batch.Done, phase)
				}
				return err
			}
		}},
		{"finish, a plan", "eval", func(w *world, _ batch.ID) func() error {
			const id = anotherID
			for _, h := range []batch.Header{{ID: id, Plan: true}, {ID: id.ForStage(batch.StagePlan)}} {
				h.MaxAttempts, h.TTL = 3, time.Hour
				require.NoError(w, w.store.Create(w.Context(), h, []byte("plan")))
			}
			w.feed(id.ForStage(batch.StagePlan), 0, 1)
			w.seal(id.ForStage(batch.StagePlan), 1)
			l := w.one(id.ForStage(batch.StagePlan), "a").Lease
			return func() error { return errOf(w.store.Finish(w.Context(), id.ForStage(batch.StagePlan), plan(l, 5))) }
		}},
		{"release", "eval", func(w *world, id batch.ID) func() error {
			l := leases(w.claim(id, "a", 3))
			return func() error { return w.store.Release(w.Context(), id, l) }
		}},
		{"cancel", "eval", func(w *world, id batch.ID) func() error {
			w.claim(id, "a", 1)
			return func() error { return fails(w.store.Cancel(w.Context(), id)) }
		}},
		{"retry", "eval", retryable},
		{"retry, listing", "sadd", retryable},
		{"remove", "eval", func(w *world, id batch.ID) func() error {
			w.seal(id, 6)
			w.finishAll(id, w.claim(id, "a", 6))
			return func() error { return gone(w.store.Remove(w.Context(), id)) }
		}},
		{"remove, journals", "unlink", func(w *world, id batch.ID) func() error {
			retryable(w, id)
			return func() error { return gone(w.store.Remove(w.Context(), id)) }
		}},
		{"retire", "srem", func(w *world, id batch.ID) func() error {
			w.seal(id, 6)
			w.finishAll(id, w.claim(id, "a", 6))
			return func() error { return w.store.Retire(w.Context(), id) }
		}},
		{"trim", "xtrim", func(w *world, id batch.ID) func() error {
			w.finishAll(id, w.claim(id, "a", 3))
			return func() error { return w.store.TrimResults(w.Context(), id, 2, "") }
		}},
		{"held", "eval", func(w *world, id batch.ID) func() error {
			l := leases(w.claim(id, "a", 3))
			return func() error {
				held, err := w.store.Held(w.Context(), id, "a", 10)
				if err == nil {
					assert.Equal(w, l, held)
				}
				return err
			}
		}},
		{"volunteer", "eval", func(w *world, id batch.ID) func() error {
			w.claim(id, "dead", 6)
			w.takeover(id, "dead, too", 6)
			w.until(func() bool {
				require.Empty(w, w.claim(id, "busy", 6))
				return w.counts(id).Takeovers == 12
			}, "the last attempts to wait")
			return func() error {
				yes, err := w.store.Volunteer(w.Context(), id, "busy", w.lease)
				if err == nil {
					assert.True(w, yes)
				}
				return err
			}
		}},
		{"register", "zadd", func(w *world, id batch.ID) func() error {
			return func() error {
				return w.store.Register(w.Context(), batch.WorkerRecord{ID: "a", Consumer: "a-1"}, time.Hour)
			}
		}},
	} {
		t.Run(c.verb, func(t *testing.T) {
			t.Parallel()
			once := stateAfter(t, func(w *world, line *testredis.Line, id batch.ID) {
				require.NoError(w, c.prepare(w, id)())
			})
			repeated := stateAfter(t, func(w *world, line *testredis.Line, id batch.ID) {
				verb := c.prepare(w, id)
				line.LoseReply(c.request)
				require.ErrorIs(w, verb(), statestore.ErrUnknownOutcome)
				require.Equal(w, 1, line.Lost())
				require.NoError(w, verb())
			})
			assert.Equal(t, once, repeated)
		})
	}
}

// retryable finishes all jobs, two of them with a failure, and returns the call.
func retryable(w *world, id batch.ID) func() error {
	w.seal(id, 6)
	jobs := w.claim(id, "a", 6)
	w.checkpoint(jobs[0].Lease, 1, "one")
	w.finishAll(id, jobs[2:])
	w.finish(id, []statestore.Completion{failed(jobs[0].Lease, batch.Timeout), failed(jobs[1].Lease, batch.BadInput)}, committed(2)...)
	require.NoError(w, w.store.Retire(w.Context(), id))
	return func() error { return fails(w.store.Retry(w.Context(), id)) }
}

// stateAfter runs one history against a fresh server with an open batch of six jobs. It returns the whole data of the server.
// IDs and clocks are the same in every history.
func stateAfter(t *testing.T, history func(*world, *testredis.Line, batch.ID)) (state string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		dial, m := testredis.Pipe(t)
		line := testredis.NewLine(dial)
		w := bubbleOver(t, line.Dial)
		id := batch.ID("b_01hf7yat2a248q8hj1w0cwt65c")
		require.NoError(t, w.store.Create(t.Context(), batch.Header{ID: id, MaxAttempts: 3, TTL: time.Hour}, []byte("plan")))
		w.feed(id, 0, 6)
		history(w, line, id)
		state = m.Dump()
		if len(w.keys(id)) > 0 {
			w.check(id)
		}
	})
	return state
}

// TestLostReplyOfClaim tests the one method that must not be repeated, and its repair.
func TestLostReplyOfClaim(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dial, _ := testredis.Pipe(t)
		line := testredis.NewLine(dial)
		w := bubbleOver(t, line.Dial)
		id := w.sealed(4)
		known := w.one(id, "a")
		line.LoseReply("eval")
		_, _, err := w.store.Claim(t.Context(), statestore.ClaimParams{Batch: id, Consumer: "a", Count: 2, Lease: w.lease})
		require.ErrorIs(t, err, statestore.ErrUnknownOutcome)
		assert.EqualValues(t, 3, w.counts(id).Running, "the worker holds leases without knowing")

		held, err := w.store.Held(t.Context(), id, "a", 10)
		require.NoError(t, err)
		require.Len(t, held, 3)
		var lost []batch.Lease
		for _, l := range held {
			if l != known.Lease {
				lost = append(lost, l)
			}
		}
		w.release(id, lost...)
		again := w.claim(id, "a", 10)
		assert.Equal(t, []int64{1, 2, 3}, indexes(again))
		for _, j := range again {
			assert.Equal(t, 1, j.Lease.Attempt, "I5: no attempt was counted")
		}
		assert.Equal(t, batch.Done, w.finishAll(id, append(again, known)))
	})
}

func errOf(_ batch.Phase, _ []statestore.FinishOutcome, err error) error { return err }

// fails drops the value that comes with an error.
func fails[T any](_ T, err error) error { return err }

// gone accepts "not found" as the result of a repeated removal.
func gone(err error) error {
	if errors.Is(err, statestore.ErrNotFound) {
		return nil
	}
	return err
}

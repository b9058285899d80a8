package terminal

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// A retry during the reduction changes the results and causes another reduction. The following command collects both,
// and its file keeps no outdated failures.
func TestResultsFollowARetryDuringTheReduction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dial, _ := testredis.Pipe(t)
		t.Cleanup(func() { time.Sleep(3 * time.Second) }) // wait until the client's redialling goroutines have noticed that it is closed
		s, err := statestore.Open(t.Context(), testredis.PipeURL, statestore.Options{Dialer: dial})
		require.NoError(t, err)
		t.Cleanup(func() { _ = s.Close() })
		id := statestore.NewID(time.Now())
		for _, h := range []batch.Header{{ID: id.ForStage(batch.StageReduce)}, {ID: id, Reduce: true}} {
			h.Name, h.MaxAttempts, h.TTL = "n", 3, time.Hour
			require.NoError(t, s.Create(t.Context(), h, []byte("plan")))
		}
		_, err = s.Feed(t.Context(), id, 0, [][]byte{[]byte("{}")})
		require.NoError(t, err)
		_, err = s.Seal(t.Context(), id, 1)
		require.NoError(t, err)
		claim := func(id batch.ID) batch.Lease {
			_, jobs, err := s.Claim(t.Context(), statestore.ClaimParams{Batch: id, Consumer: "w", Count: 1, Lease: time.Minute})
			require.NoError(t, err)
			require.Len(t, jobs, 1)
			return jobs[0].Lease
		}
		finish := func(l batch.Lease, status batch.Status, output string) {
			r := batch.Result{Batch: l.Job.Batch, JobID: batch.JobID(0), Status: status, Attempts: l.Attempt, Turns: 1}
			if status == batch.OK {
				r.Output = json.RawMessage(output)
			} else {
				r.Error = batch.NewError(batch.Timeout, output)
			}
			_, outcomes, err := s.Finish(t.Context(), l.Job.Batch, []statestore.Completion{{Lease: l, Result: r}})
			require.NoError(t, err)
			require.Equal(t, []statestore.FinishOutcome{statestore.Committed}, outcomes)
		}

		out := filepath.Join(t.TempDir(), "results.jsonl")
		var summaries bytes.Buffer
		done := make(chan error, 1)
		go func() {
			done <- Results(t.Context(), s, id, ResultsOptions{Follow: true, Out: out}, NewConsole(&summaries, io.Discard))
		}()
		finish(claim(id), batch.StatusFailed, "too late")
		time.Sleep(3 * time.Second) // the results are in the file, and the command waits for the reduction
		first := claim(id.ForStage(batch.StageReduce))
		queued, err := s.Retry(t.Context(), id)
		require.NoError(t, err)
		require.EqualValues(t, 1, queued)
		finish(first, batch.OK, `{"of":"the failure"}`)
		time.Sleep(3 * time.Second)
		finish(claim(id), batch.OK, `{"text":"in time"}`)
		finish(claim(id.ForStage(batch.StageReduce)), batch.OK, `{"of":"the output"}`)
		require.NoError(t, <-done)

		text, err := os.ReadFile(out)
		require.NoError(t, err)
		assert.Contains(t, string(text), "in time")
		assert.NotContains(t, string(text), "too late")
		assert.Contains(t, summaries.String(), "the output")
	})
}

package coordinator

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// overheard is a connection that passes each write to a function first.
type overheard struct {
	net.Conn
	hear func([]byte)
}

func (o overheard) Write(b []byte) (int, error) {
	o.hear(b)
	return o.Conn.Write(b)
}

// A failover between the calls that create a batch and its stages loses the last of them. In the end all of them must
// exist, because the others wait for each other.
func TestCreateRestoresForgottenStages(t *testing.T) {
	t.Parallel()
	const id batch.ID = "b_01jd0000000000000000000000"
	keys := func(stage string) []string {
		prefix := "ba:{" + string(id) + "}:" + stage
		return []string{prefix + "meta", prefix + "plan", prefix + "jobs"}
	}
	for name, c := range map[string]struct {
		sent      string // a key of the batch that is being made
		forgotten []string
	}{
		"the reducer before the batch is made":                 {keys("")[1], keys("reduce:")},
		"the batch before its planner is made":                 {keys("planner:")[1], keys("")},
		"the reducer and the batch before the planner is made": {keys("planner:")[1], append(keys("reduce:"), keys("")...)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dial, m := testredis.Pipe(t)
			var once sync.Once
			s, err := statestore.Open(t.Context(), testredis.PipeURL, statestore.Options{
				Dialer: func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := dial(ctx, network, address)
					return overheard{conn, func(b []byte) {
						if bytes.Contains(b, []byte(c.sent+"\r\n")) {
							once.Do(func() {
								for _, key := range c.forgotten {
									m.Del(key)
								}
							})
						}
					}}, err
				},
			})
			require.NoError(t, err)
			t.Cleanup(func() { _ = s.Close() })
			compiled := &spec.Compiled{Name: "n", MaxAttempts: 3, TTL: time.Hour}
			require.NoError(t, create(t.Context(), s, id, consignment{compiled: compiled, planner: compiled, reduce: compiled}))
			for _, stage := range []batch.ID{id, id.ForStage(batch.StagePlan), id.ForStage(batch.StageReduce)} {
				info, err := s.Info(t.Context(), stage)
				require.NoError(t, err)
				assert.Equal(t, batch.Open, info.Phase)
			}
		})
	}
}

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

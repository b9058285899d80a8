package batchagent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent"
	"github.com/batchagent/batchagent/internal/server"
	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/vllmsim"
)

// startWorker starts a worker of a cluster. stop drains it and waits for its end.
func startWorker(t *testing.T, w batchagent.Worker) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { assert.NoError(t, w.Run(ctx)) })
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(stop)
	return stop
}

func connect(t *testing.T, url string) *batchagent.Cluster {
	t.Helper()
	c, err := batchagent.Connect(t.Context(), batchagent.ClusterConfig{URL: url})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return c
}

// serve starts a server in front of a Redis and returns its URL.
func serve(t *testing.T, redis string) string {
	t.Helper()
	store, err := statestore.Open(t.Context(), redis, statestore.Options{})
	require.NoError(t, err)
	s, err := server.New(server.Config{Store: store, Rate: 1e6}) // all tests are one client
	require.NoError(t, err)
	h := httptest.NewServer(s)
	t.Cleanup(func() {
		s.Close()
		h.Close()
		assert.NoError(t, store.Close())
	})
	return h.URL
}

// Both doors of a cluster offer the same: a Redis, and a server in front of it.
func TestCluster(t *testing.T) {
	t.Parallel()
	redis, _ := testredis.Mini(t)
	var looked atomic.Int64
	look := batchagent.Func("look", "Looks a word up.", func(context.Context, at) (string, error) {
		looked.Add(1)
		return "a noun", nil
	})
	look.Share = batchagent.Effect
	startWorker(t, batchagent.Worker{
		Redis: redis, Backend: startSimulator(t, vllmsim.Config{ForwardMS: 5}), ID: "node-1", Tools: []batchagent.Tool{look},
	})
	for name, url := range map[string]string{"Redis": redis, "server": serve(t, redis)} {
		t.Run(name, func(t *testing.T) {
			cluster := connect(t, url)
			t.Run("runs a function of the worker", func(t *testing.T) {
				before := looked.Load()
				h, err := batchagent.Submit(t.Context(), cluster, batchagent.Batch[note]{
					Task: "Look {input} up", Inputs: batchagent.Slice(words(20)), Tools: []batchagent.Tool{batchagent.Named("look")},
				})
				require.NoError(t, err)
				results, err := h.Wait(t.Context())
				require.NoError(t, err)
				require.Len(t, results, 20)
				for i, r := range results {
					require.NoError(t, r.Err)
					assert.Equal(t, i, r.Index)
					assert.Equal(t, h.ID(), r.Batch)
					assert.Equal(t, "node-1", r.Worker)
					assert.EqualValues(t, 1, r.Tools.Executed)
				}
				assert.EqualValues(t, 20, looked.Load()-before)
				status, err := h.Status(t.Context())
				require.NoError(t, err)
				assert.Equal(t, batch.BatchDone, status.State)
				assert.EqualValues(t, 20, status.OK)
				assert.EqualValues(t, 20, status.Total)
				assert.Positive(t, status.Usage.PromptTokens)
				assert.False(t, status.DoneAt.IsZero())
			})
			t.Run("fills the stages", func(t *testing.T) {
				var plan batchagent.Result[[]string]
				var summary, again batchagent.Result[string]
				h, err := batchagent.Submit(t.Context(), cluster, batchagent.Batch[note]{
					Plan: batchagent.Plan[string]{Task: "List them.", Into: &plan}, Task: "Sum up {item}",
					Reduce: batchagent.Reduce[string]{Task: "Join {n} notes.", Into: &summary},
				})
				require.NoError(t, err)
				results, err := h.Wait(t.Context())
				require.NoError(t, err)
				require.NotEmpty(t, results)
				assert.Len(t, results, len(plan.Output))
				require.NoError(t, summary.Err)
				assert.Contains(t, summary.Output, "Join")

				other, err := batchagent.Attach[note](t.Context(), cluster, h.ID(), batchagent.Reduce[string]{Into: &again})
				require.NoError(t, err)
				_, err = other.Wait(t.Context())
				require.NoError(t, err)
				assert.Equal(t, summary.Output, again.Output)
			})
			t.Run("reports a failed plan", func(t *testing.T) {
				h, err := batchagent.Submit(t.Context(), cluster, batchagent.Batch[note]{
					Plan: batchagent.Plan[string]{Task: "List them.", Agent: batchagent.Agent{Sampling: batchagent.Sampling{MaxTokens: 2}}}, Task: "Sum up {item}",
				})
				require.NoError(t, err)
				untyped, err := batchagent.Attach[note](t.Context(), cluster, h.ID())
				require.NoError(t, err)
				for _, h := range []*batchagent.Handle[note]{h, untyped} {
					_, err = h.Wait(t.Context())
					var failed *batchagent.Error
					require.ErrorAs(t, err, &failed)
					assert.Equal(t, batch.OutputTruncated, failed.Type)
				}
			})
			t.Run("finds a batch by its key", func(t *testing.T) {
				b := batchagent.Batch[note]{Task: "Sum up {input}", Inputs: batchagent.Slice(words(3)), Key: "notes over " + name}
				first, err := batchagent.Submit(t.Context(), cluster, b)
				require.NoError(t, err)
				_, err = first.Wait(t.Context())
				require.NoError(t, err)
				second, err := batchagent.Submit(t.Context(), cluster, b)
				require.NoError(t, err)
				assert.Equal(t, first.ID(), second.ID())
				b.Task = "Sum {input} up"
				_, err = batchagent.Submit(t.Context(), cluster, b)
				require.ErrorIs(t, err, batchagent.ErrKeyUsed)
				b.Key = ""
				third, err := batchagent.Submit(t.Context(), cluster, b)
				require.NoError(t, err)
				fourth, err := batchagent.Submit(t.Context(), cluster, b)
				require.NoError(t, err)
				assert.NotEqual(t, third.ID(), fourth.ID())
			})
			t.Run("refuses unknown tools and batches", func(t *testing.T) {
				var unknown *batchagent.UnknownToolError
				_, err := batchagent.Submit(t.Context(), cluster, batchagent.Batch[note]{
					Task: "Look {input} up", Inputs: batchagent.Slice(words(1)), Tools: []batchagent.Tool{batchagent.Named("loook")},
				})
				require.ErrorAs(t, err, &unknown)
				assert.Equal(t, []string{"loook"}, unknown.Tools)
				assert.Contains(t, unknown.Offered, "look")
				_, err = batchagent.Attach[note](t.Context(), cluster, "b_01k8zzzzzzzzzzzzzzzzzzzzzz")
				require.ErrorIs(t, err, batchagent.ErrNotFound)
				var usage *batchagent.UsageError
				_, err = batchagent.Attach[note](t.Context(), cluster, "no batch")
				require.ErrorAs(t, err, &usage)
				_, err = batchagent.Submit(t.Context(), cluster, batchagent.Batch[note]{Inputs: batchagent.Slice(words(1))})
				require.ErrorAs(t, err, &usage)
			})
		})
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	redis, _ := testredis.Mini(t)
	for name, url := range map[string]string{"Redis": redis, "server": serve(t, redis)} {
		t.Run(name, func(t *testing.T) {
			cluster := connect(t, url)
			h, err := batchagent.Submit(t.Context(), cluster, batchagent.Batch[note]{Task: "Sum up {input}", Inputs: batchagent.Slice(words(7))})
			require.NoError(t, err)
			status, err := h.Status(t.Context())
			require.NoError(t, err)
			assert.Equal(t, batch.BatchWaiting, status.State, "no worker is up")
			assert.NotEmpty(t, status.Reason)
			assert.EqualValues(t, 7, status.Waiting)

			require.NoError(t, h.Cancel(t.Context()))
			results, err := h.Wait(t.Context())
			require.NoError(t, err)
			require.Len(t, results, 7)
			for _, r := range results {
				var failed *batchagent.Error
				require.ErrorAs(t, r.Err, &failed)
				assert.Equal(t, batch.JobCancelled, failed.Type)
			}
			require.NoError(t, h.Cancel(t.Context()), "of a batch that is done")
			status, err = h.Status(t.Context())
			require.NoError(t, err)
			assert.Equal(t, batch.BatchCancelled, status.State)
			assert.True(t, status.State.Ended())
		})
	}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	redis, _ := testredis.Mini(t)
	var fixed atomic.Bool
	backend := answering(t, func(asked string) string {
		if strings.Contains(asked, "word 2") && !fixed.Load() {
			return "no JSON"
		}
		return `{\"summary\":\"s\"}`
	})
	startWorker(t, batchagent.Worker{Redis: redis, Backend: backend, ID: "w"})
	for name, url := range map[string]string{"Redis": redis, "server": serve(t, redis)} {
		t.Run(name, func(t *testing.T) {
			fixed.Store(false)
			h, err := batchagent.Submit(t.Context(), connect(t, url), batchagent.Batch[note]{Task: "Sum up {input}", Inputs: batchagent.Slice(words(5))})
			require.NoError(t, err)
			results, err := h.Wait(t.Context())
			require.NoError(t, err)
			require.Len(t, results, 5)
			require.Error(t, results[2].Err)
			status, err := h.Status(t.Context())
			require.NoError(t, err)
			assert.Equal(t, batch.BatchDoneWithFailures, status.State)
			assert.EqualValues(t, 1, status.Failed)

			fixed.Store(true)
			require.NoError(t, h.Retry(t.Context()))
			results, err = h.Wait(t.Context())
			require.NoError(t, err)
			require.Len(t, results, 5)
			require.NoError(t, results[2].Err)
			require.NoError(t, h.Retry(t.Context()), "without failed jobs")
		})
	}
}

// On a cluster a batch that has used its budget waits.
func TestPausedOnCluster(t *testing.T) {
	t.Parallel()
	redis, _ := testredis.Mini(t)
	startWorker(t, batchagent.Worker{Redis: redis, Backend: startSimulator(t, vllmsim.Config{}), ID: "w"})
	h, err := batchagent.Submit(t.Context(), connect(t, redis), batchagent.Batch[note]{
		Task: "Sum up {input}", Inputs: batchagent.Slice(words(40)), MaxInflight: 1, BatchBudget: batchagent.Budget{Tokens: 500},
	})
	require.NoError(t, err)
	results, err := h.Wait(t.Context())
	var paused *batchagent.PausedError
	require.ErrorAs(t, err, &paused)
	assert.Equal(t, h.ID(), paused.Batch)
	assert.EqualValues(t, 40-len(results), paused.Unfinished)
	status, err := h.Status(t.Context())
	require.NoError(t, err)
	assert.Equal(t, batch.BatchPaused, status.State)
	assert.GreaterOrEqual(t, status.Used.Tokens, int64(500))
}

// The jobs of a worker that drains continue on another worker.
func TestWorkerDrains(t *testing.T) {
	t.Parallel()
	redis, _ := testredis.Mini(t)
	backend := startSimulator(t, vllmsim.Config{ForwardMS: 20})
	cluster := connect(t, redis)
	stop := startWorker(t, batchagent.Worker{Redis: redis, Backend: backend, ID: "first", MaxInflight: 4})
	h, err := batchagent.Submit(t.Context(), cluster, batchagent.Batch[note]{Task: "Sum up {input}", Inputs: batchagent.Slice(words(200))})
	require.NoError(t, err)
	workers := map[string]int{}
	for r, err := range h.Results(t.Context()) {
		require.NoError(t, err)
		require.NoError(t, r.Err)
		assert.Equal(t, 1, r.Attempts, "a drain costs no attempt")
		if workers[r.Worker]++; len(workers) == 1 && workers["first"] == 5 {
			stop()
			startWorker(t, batchagent.Worker{Redis: redis, Backend: backend, ID: "second"})
		}
	}
	assert.Equal(t, 200, workers["first"]+workers["second"])
	assert.Positive(t, workers["second"])
}

// Leaving the loop and the end of a context end the goroutines of a handle. They do not end the batch.
func TestHandleOutlivesItsReader(t *testing.T) {
	t.Parallel()
	redis, _ := testredis.Mini(t)
	startWorker(t, batchagent.Worker{Redis: redis, Backend: startSimulator(t, vllmsim.Config{ForwardMS: 5}), ID: "w"})
	h, err := batchagent.Submit(t.Context(), connect(t, redis), batchagent.Batch[note]{Task: "Sum up {input}", Inputs: batchagent.Slice(words(60))})
	require.NoError(t, err)
	for _, err := range h.Results(t.Context()) {
		require.NoError(t, err)
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = h.Wait(ctx)
	require.ErrorIs(t, err, context.Canceled)
	results, err := h.Wait(t.Context())
	require.NoError(t, err)
	assert.Len(t, results, 60)
}

func TestResultsOfAndReuse(t *testing.T) {
	t.Parallel()
	redis, _ := testredis.Mini(t)
	startWorker(t, batchagent.Worker{Redis: redis, Backend: startSimulator(t, vllmsim.Config{ForwardMS: 1}), ID: "w"})
	cluster := connect(t, redis)
	b := batchagent.Batch[note]{Task: "Sum up {input}", Inputs: batchagent.Slice(words(50))}
	first, err := batchagent.Submit(t.Context(), cluster, b)
	require.NoError(t, err)
	results, err := first.Wait(t.Context())
	require.NoError(t, err)

	chained, err := batchagent.Submit(t.Context(), cluster, batchagent.Batch[string]{
		Task: "{index}: is this true? {summary}", Inputs: batchagent.ResultsOf(first.ID()),
	})
	require.NoError(t, err)
	judged, err := chained.Wait(t.Context())
	require.NoError(t, err)
	require.Len(t, judged, 50)
	assert.Contains(t, judged[42].Output, "42: is this true?")

	b.Reuse = first.ID()
	again, err := batchagent.Submit(t.Context(), cluster, b)
	require.NoError(t, err)
	reused, err := again.Wait(t.Context())
	require.NoError(t, err)
	assert.Equal(t, first.ID()+"/job-7", reused[7].ReusedFrom)
	assert.Equal(t, results[7].Output, reused[7].Output)

	var usage *batchagent.UsageError
	_, err = batchagent.Submit(t.Context(), connect(t, serve(t, redis)), b)
	require.ErrorAs(t, err, &usage)
}

// submitterURL marks the process that TestKilledSubmitter starts.
const submitterURL = "BATCHAGENT_TEST_SUBMITTER"

// A program that was killed finds its batch again by the key. A third one attaches by the ID.
func TestKilledSubmitter(t *testing.T) {
	b := batchagent.Batch[note]{Task: "Sum up {input}", Inputs: batchagent.Slice(words(80)), Key: "the same"}
	if url := os.Getenv(submitterURL); url != "" { // the program that is killed
		c, err := batchagent.Connect(t.Context(), batchagent.ClusterConfig{URL: url})
		require.NoError(t, err)
		h, err := batchagent.Submit(t.Context(), c, b)
		require.NoError(t, err)
		for r := range h.Results(t.Context()) {
			require.NoError(t, json.NewEncoder(os.Stdout).Encode(r))
		}
		return
	}
	t.Parallel()
	redis, _ := testredis.Mini(t)
	startWorker(t, batchagent.Worker{Redis: redis, Backend: startSimulator(t, vllmsim.Config{ForwardMS: 50}), ID: "w", MaxInflight: 2})
	var out lineNotifier
	out.line = make(chan string, 1)
	program := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledSubmitter$", "-test.v=false")
	program.Env = append(os.Environ(), submitterURL+"="+redis)
	program.Stdout = &out
	require.NoError(t, program.Start())
	line := <-out.line
	require.NoError(t, program.Process.Kill())
	require.Error(t, program.Wait())
	var first struct{ Batch string }
	require.NoError(t, json.Unmarshal([]byte(line), &first), line)

	cluster := connect(t, redis)
	h, err := batchagent.Submit(t.Context(), cluster, b)
	require.NoError(t, err)
	assert.Equal(t, first.Batch, h.ID())
	attached, err := batchagent.Attach[note](t.Context(), connect(t, redis), first.Batch)
	require.NoError(t, err)
	for _, h := range []*batchagent.Handle[note]{h, attached} {
		results, err := h.Wait(t.Context())
		require.NoError(t, err)
		require.Len(t, results, 80)
		for i, r := range results {
			require.NoError(t, r.Err)
			assert.Equal(t, i, r.Index)
		}
	}
}

// lineNotifier sends the first line of a program's output.
type lineNotifier struct {
	text bytes.Buffer
	line chan string
}

func (l *lineNotifier) Write(p []byte) (int, error) {
	l.text.Write(p)
	if first, _, whole := strings.Cut(l.text.String(), "\n"); whole {
		select {
		case l.line <- first:
		default:
		}
	}
	return len(p), nil
}

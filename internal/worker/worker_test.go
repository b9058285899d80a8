package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a backend with model calls that take think. It first requests looks tool calls, one per turn, and then answers.
type server struct {
	think time.Duration
	looks int
	bad   int // first answers that do not match the schema
	down  atomic.Bool

	mu    sync.Mutex
	first map[string]int // guarded by mu; first calls by job
	calls int            // guarded by mu
}

func (s *server) Generate(ctx context.Context, r *backend.Request, _ backend.Observer) (*backend.Response, error) {
	if s.down.Load() {
		return nil, &backend.Error{Class: backend.Transient, Endpoint: s.Endpoint(), Message: "connection refused"}
	}
	s.mu.Lock()
	think := s.think
	s.mu.Unlock()
	select {
	case <-time.After(think):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	out := &backend.Response{Model: "m", Finish: backend.FinishStop, Usage: backend.Usage{PromptTokens: 10, CachedTokens: 4, CompletionTokens: 2}}
	if r.Hints.Session == "control" {
		out.Message.Content = "OK"
		return out, nil
	}
	if len(r.Messages) < 2+2*s.looks {
		if len(r.Messages) == 2 {
			s.first[r.Hints.Session]++
		}
		out.Finish = backend.FinishToolCalls
		out.Message.ToolCalls = []backend.ToolCall{{ID: "call_0", Name: "look", Arguments: `{"at":"` + r.Messages[1].Content + `"}`}}
		return out, nil
	}
	if s.bad > 0 {
		s.bad--
		out.Message.Content = "{}"
		return out, nil
	}
	saw := "nothing"
	if s.looks > 0 {
		saw = r.Messages[3].Content
	}
	out.Message.Content = `{"saw":"` + saw + `"}`
	return out, nil
}

func (s *server) Models(context.Context) ([]backend.Model, error) {
	return []backend.Model{{ID: "m", MaxModelLen: 4096}}, nil
}

func (s *server) Ready(context.Context) error {
	if s.down.Load() {
		return errors.New("connection refused")
	}
	return nil
}
func (s *server) Capabilities() backend.Capabilities { return backend.Capabilities{Name: "test"} }
func (s *server) Endpoint() string                   { return "test://server" }
func (s *server) Close() error                       { return nil }

// world is an embedded Redis and everything else that a worker needs.
type world struct {
	t      *testing.T
	dial   testredis.Dialer
	cut    atomic.Bool // no connection can be made or used
	server *server
	store  *statestore.Store
}

func newWorld(t *testing.T, think time.Duration) *world {
	dial, _ := testredis.Pipe(t)
	// The Redis client's goroutines that reconnect check once per second whether their pool was closed.
	t.Cleanup(func() { time.Sleep(3 * time.Second) })
	w := &world{t: t, dial: dial, server: &server{think: think, looks: 1, first: map[string]int{}}}
	w.store = w.open()
	return w
}

func (w *world) open() *statestore.Store {
	s, err := statestore.Open(w.t.Context(), testredis.PipeURL, statestore.Options{
		Jitter: func() float64 { return 0.5 },
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if w.cut.Load() {
				return nil, errors.New("network is down")
			}
			c, err := w.dial(ctx, network, addr)
			return &cuttable{Conn: c, cut: &w.cut}, err
		},
	})
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = s.Close() })
	return s
}

// cuttable is a connection of a network that can be cut.
type cuttable struct {
	net.Conn
	cut *atomic.Bool
}

func (c *cuttable) Write(b []byte) (int, error) {
	if c.cut.Load() {
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

// submit makes a sealed batch of n jobs.
func (w *world) submit(n int, change func(*spec.Compiled)) batch.ID {
	compiled := &spec.Compiled{
		Name: "t", System: "sys", Task: "{x}", Schema: []byte(`{"type":"object","required":["saw"]}`), Tools: []string{"look"},
		MaxTurns: 4, MaxRetries: 2, MaxAttempts: 3, TTL: time.Hour,
	}
	if change != nil {
		change(compiled)
	}
	text, err := json.Marshal(compiled)
	require.NoError(w.t, err)
	id := statestore.NewID(time.Now())
	ctx := w.t.Context()
	require.NoError(w.t, w.store.Create(ctx, batch.Header{ID: id, Name: "t", Model: compiled.Model, Tools: compiled.Tools, MaxAttempts: compiled.MaxAttempts, TTL: compiled.TTL, Budget: compiled.BatchBudget}, text))
	var payloads [][]byte
	for i := range n {
		payloads = append(payloads, fmt.Appendf(nil, `{"in":{"x":"p%d"}}`, i))
	}
	_, err = w.store.Feed(ctx, id, 0, payloads)
	require.NoError(w.t, err)
	_, err = w.store.Seal(ctx, id, int64(n))
	require.NoError(w.t, err)
	require.NoError(w.t, w.store.Ring(ctx, statestore.Event{Kind: statestore.JobsWaiting, Batch: id}))
	return id
}

// running is a worker that runs in the bubble.
type running struct {
	*Worker
	stop func()
	done chan struct{}
}

func (w *world) start(name string, change func(*Config)) *running {
	pool, err := toolpool.New(toolpool.Config{})
	require.NoError(w.t, err)
	require.NoError(w.t, pool.Register(toolpool.Tool{
		Name: "look", Description: "looks", Parameters: []byte(`{"type":"object","properties":{"at":{"type":"string"}},"required":["at"]}`),
		Run: func(ctx context.Context, args json.RawMessage) (string, error) {
			var in struct{ At string }
			err := json.Unmarshal(args, &in)
			return in.At, err
		},
	}))
	cfg := Config{ID: name, Consumer: name + "-x", Store: w.open(), Backend: w.server, Tools: pool, Slots: 8, Lease: 15 * time.Second}
	if change != nil {
		change(&cfg)
	}
	worker, err := New(cfg)
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(w.t.Context())
	r := &running{Worker: worker, stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		assert.NoError(w.t, worker.Run(ctx))
	}()
	return r
}

func (r *running) end() {
	r.stop()
	<-r.done
}

// await polls until the batch is done, in virtual time.
func (w *world) await(id batch.ID, limit time.Duration) batch.Info {
	w.t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(max(limit/3600, 100*time.Millisecond)) {
		info, err := w.store.Info(w.t.Context(), id)
		require.NoError(w.t, err)
		if info.Phase == batch.Done {
			return info
		}
		require.True(w.t, time.Now().Before(end), "the batch does not end: %+v", info.Counts)
	}
}

// results reads every result and checks that each index has one.
func (w *world) results(id batch.ID, n int) map[int64]batch.Result {
	w.t.Helper()
	entries, err := w.store.Results(w.t.Context(), id, 0, 10*n)
	require.NoError(w.t, err)
	out := map[int64]batch.Result{}
	for _, e := range entries {
		var r batch.Result
		require.NoError(w.t, json.Unmarshal(e.Line, &r))
		require.NotContains(w.t, out, r.Index, "two results")
		out[r.Index] = r
	}
	require.Len(w.t, out, n)
	return out
}

func TestWorkerRunsBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Second)
		id := w.submit(50, nil)
		worker := w.start("node-1", nil)
		info := w.await(id, 5*time.Minute)
		assert.EqualValues(t, 50, info.Counts.OK)
		assert.EqualValues(t, 100, info.Counts.Turns)
		assert.Equal(t, batch.Usage{PromptTokens: 1000, CachedTokens: 400, CompletionTokens: 200, ContextTokens: 600}, info.Counts.Usage)
		assert.Equal(t, batch.ToolCounts{Asked: 50, Executed: 50}, info.Counts.Tools)
		for i, r := range w.results(id, 50) {
			assert.JSONEq(t, fmt.Sprintf(`{"saw":"p%d"}`, i), string(r.Output))
			assert.Equal(t, "node-1", r.Worker)
			assert.Equal(t, 1, r.Attempts)
			assert.Equal(t, 2, r.Turns)
		}
		time.Sleep(2 * idlePoll) // the claimer finds the end of the batch in its next round
		status := worker.Status()
		assert.EqualValues(t, 50, status.JobsDone)
		assert.Zero(t, status.LiveAgents)
		worker.end()
		active, err := w.store.Active(t.Context())
		require.NoError(t, err)
		assert.Empty(t, active)
		workers, err := w.store.Workers(t.Context())
		require.NoError(t, err)
		assert.Empty(t, workers, "a worker that leaves removes its record")
	})
}

// TestDrain stops a worker in the middle: jobs that can end within the drain do. The others are released with their
// journal, without spending an attempt.
func TestDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Second)
		id := w.submit(8, nil)
		first := w.start("node-1", func(c *Config) { c.DrainTimeout = 3 * time.Second })
		time.Sleep(15 * time.Second) // turn 1 is journalled, turn 2 is in flight
		began := time.Now()
		first.end()
		assert.Less(t, time.Since(began), 3*time.Second+2*listenFor)

		second := w.start("node-2", nil)
		w.await(id, time.Minute)
		second.end()
		for _, r := range w.results(id, 8) {
			assert.Equal(t, batch.OK, r.Status)
			assert.Equal(t, "node-2", r.Worker)
			assert.Equal(t, 1, r.Attempts, "a released job has not spent its attempt")
		}
		for job, n := range w.server.first {
			assert.Equal(t, 1, n, "%s began anew", job)
		}
	})
}

// TestDrainAtTurnBoundary lets agents finish their turn within the drain timeout and stop there.
func TestDrainAtTurnBoundary(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Second)
		id := w.submit(4, nil)
		first := w.start("node-1", nil)
		time.Sleep(5 * time.Second) // in the middle of turn 1
		first.end()
		info, err := w.store.Info(t.Context(), id)
		require.NoError(t, err)
		assert.Zero(t, info.Counts.Running)
		second := w.start("node-2", nil)
		w.await(id, time.Minute)
		second.end()
		assert.Equal(t, 8, w.server.calls, "no turn ran twice")
	})
}

func TestAbort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Hour)
		w.submit(4, nil)
		worker := w.start("node-1", func(c *Config) { c.DrainTimeout = 30 * time.Minute })
		time.Sleep(5 * time.Second)
		began := time.Now()
		worker.stop()
		worker.Abort()
		<-worker.done
		assert.Less(t, time.Since(began), 5*time.Second)
	})
}

// TestDeadWorker cuts a worker off for good. Other workers resume its jobs from their journals, one lease later.
func TestDeadWorker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Second)
		dead := newWorld(t, 10*time.Second)
		dead.dial, dead.server = w.dial, w.server
		id := w.submit(8, nil)
		first := dead.start("node-1", nil)
		time.Sleep(15 * time.Second)
		dead.cut.Store(true)
		second := w.start("node-2", nil)
		info := w.await(id, 2*time.Minute)
		assert.EqualValues(t, 8, info.Counts.Takeovers)
		second.end()
		for _, r := range w.results(id, 8) {
			assert.Equal(t, "node-2", r.Worker)
			assert.Equal(t, 2, r.Attempts)
		}
		for job, n := range w.server.first {
			assert.Equal(t, 1, n, "%s began anew", job)
		}
		first.end()
	})
}

// TestRedisAway cuts the network for three leases. Model calls continue, and no job is lost, run twice or taken over.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Second)
		id := w.submit(16, nil)
		one, two := w.start("node-1", nil), w.start("node-2", nil)
		time.Sleep(15 * time.Second)
		w.cut.Store(true)
		time.Sleep(45 * time.Second)
		w.cut.Store(false)
		info := w.await(id, 5*time.Minute)
		one.end()
		two.end()
		assert.EqualValues(t, 16, info.Counts.OK)
		assert.Zero(t, info.Counts.Takeovers)
		w.results(id, 16)
		assert.Equal(t, 32, w.server.calls, "no turn ran twice")
	})
}

func TestCancel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Minute)
		id := w.submit(100, nil)
		worker := w.start("node-1", nil)
		time.Sleep(10 * time.Second)
		_, err := w.store.Cancel(t.Context(), id)
		require.NoError(t, err)
		require.NoError(t, w.store.Ring(t.Context(), statestore.Event{Kind: statestore.BatchCancelled, Batch: id}))
		info := w.await(id, 10*time.Second)
		assert.EqualValues(t, 100, info.Counts.Cancelled)
		for _, r := range w.results(id, 100) {
			assert.Equal(t, batch.JobCancelled, r.Error.Type)
		}
		worker.end()
	})
}

// TestBackendAway: nothing is claimed while the backend is down. Live agents wait for it without spending retries, and
// release their jobs if it stays down.
func TestBackendAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Second)
		w.server.down.Store(true)
		id := w.submit(4, nil)
		worker := w.start("node-1", nil)
		time.Sleep(time.Minute)
		assert.False(t, worker.Ready())
		assert.Zero(t, worker.Status().LiveAgents)

		w.server.down.Store(false)
		time.Sleep(5 * time.Second)
		assert.Equal(t, 4, worker.Status().LiveAgents)
		w.server.down.Store(true) // turn 1 ends, turn 2 meets a dead server
		time.Sleep(time.Minute)
		assert.Zero(t, worker.Status().LiveAgents, "the jobs were released")

		w.server.down.Store(false)
		info := w.await(id, time.Minute)
		assert.EqualValues(t, 4, info.Counts.OK)
		for _, r := range w.results(id, 4) {
			assert.Equal(t, 1, r.Attempts)
		}
		worker.end()
	})
}

// TestPoison: a job that always kills its worker ends as WorkerLost after its last attempt.
func TestPoison(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Second)
		id := w.submit(1, func(c *spec.Compiled) { c.MaxAttempts = 2 })
		for i := range 2 {
			_, jobs, err := w.store.Claim(t.Context(), statestore.ClaimParams{
				Batch: id, Consumer: fmt.Sprint("dies-", i), Count: 1, Lease: 15 * time.Second, Idle: true,
			})
			require.NoError(t, err)
			require.Len(t, jobs, 1)
			time.Sleep(20 * time.Second)
			_, _, err = w.store.Claim(t.Context(), statestore.ClaimParams{Batch: id, Consumer: "looks", Count: 1, Lease: time.Hour})
			require.NoError(t, err)
			time.Sleep(5 * time.Second)
			_, _, err = w.store.Claim(t.Context(), statestore.ClaimParams{Batch: id, Consumer: "looks", Count: 1, Lease: time.Hour})
			require.NoError(t, err)
			time.Sleep(5 * time.Second)
			_, _, err = w.store.Claim(t.Context(), statestore.ClaimParams{Batch: id, Consumer: "looks", Count: 1, Lease: time.Hour})
			require.NoError(t, err)
			time.Sleep(6 * time.Second)
		}
		worker := w.start("node-1", nil)
		w.await(id, time.Minute)
		worker.end()
		r := w.results(id, 1)[0]
		require.NotNil(t, r.Error)
		assert.Equal(t, batch.WorkerLost, r.Error.Type)
		assert.Equal(t, 2, r.Attempts)
		assert.Zero(t, w.server.calls)
	})
}

// TestCannotServe: a worker does not claim from a batch with a model or tool that it does not have.
func TestCannotServe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Second)
		other := w.submit(3, func(c *spec.Compiled) { c.Model = "other" })
		lacks := w.submit(3, func(c *spec.Compiled) { c.Tools = []string{"web_search"} })
		mine := w.submit(3, nil)
		worker := w.start("node-1", nil)
		w.await(mine, time.Minute)
		worker.end()
		for _, id := range []batch.ID{other, lacks} {
			info, err := w.store.Info(t.Context(), id)
			require.NoError(t, err)
			assert.EqualValues(t, 3, info.Counts.Waiting)
		}
	})
}

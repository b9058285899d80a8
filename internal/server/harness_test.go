package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, testredis.Dialling()) }

// redisPassword must not appear in any answer or log line.
const redisPassword = "planted-redis-password"

// world is a server with an embedded Redis.
type world struct {
	*testing.T
	store *statestore.Store
	srv   *Server
	url   string
	token string
	redis *miniredis.Miniredis
	log   *syncBuffer
}

// syncBuffer is a log that can be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// serve starts a server. change modifies its configuration.
func serve(t *testing.T, change func(*Config)) *world {
	t.Helper()
	url, redis := testredis.Mini(t)
	redis.RequireAuth(redisPassword)
	url = strings.Replace(url, "redis://", "redis://:"+redisPassword+"@", 1)
	store, err := statestore.Open(t.Context(), url, statestore.Options{})
	require.NoError(t, err)
	w := &world{T: t, store: store, redis: redis, log: &syncBuffer{}}
	cfg := Config{Store: store, Rate: 1e6, Watch: 20 * time.Millisecond, Logger: textLogger(w.log)}
	if change != nil {
		change(&cfg)
	}
	w.token = cfg.Token
	w.srv, err = New(cfg)
	require.NoError(t, err)
	h := httptest.NewServer(w.srv)
	w.url = h.URL
	t.Cleanup(func() {
		w.srv.Close()
		h.CloseClientConnections()
		h.Close()
		assert.NoError(t, store.Close())
		http.DefaultClient.CloseIdleConnections()
	})
	return w
}

// answered is the answer to a request.
type answered struct {
	status int
	header http.Header
	body   string
}

func (a answered) json(t testing.TB, v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(a.body), v), a.body)
}

// problem decodes the answer as a problem. It fails the test if it is not one.
func (a answered) problem(t testing.TB) Problem {
	t.Helper()
	assert.Equal(t, "application/problem+json", a.header.Get("Content-Type"), a.body)
	var p Problem
	a.json(t, &p)
	assert.Equal(t, a.status, p.Status)
	return p
}

// ask sends a request with the world's token. headers are names and values.
func (w *world) ask(method, path, body string, headers ...string) answered {
	w.Helper()
	return w.askIn(w.Context(), method, path, body, headers...)
}

func (w *world) askIn(ctx context.Context, method, path, body string, headers ...string) answered {
	w.Helper()
	r, err := http.NewRequestWithContext(ctx, method, w.url+path, strings.NewReader(body))
	require.NoError(w, err)
	if w.token != "" {
		r.Header.Set("Authorization", "Bearer "+w.token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Do(r)
	require.NoError(w, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(w, err)
	return answered{resp.StatusCode, resp.Header, string(text)}
}

// batch creates a batch of n waiting jobs.
func (w *world) batch(name string, n int) batch.ID {
	w.Helper()
	id := statestore.NewID(time.Now())
	ctx := w.Context()
	require.NoError(w, w.store.Create(ctx, batch.Header{ID: id, Name: name, Owner: "ana", Tools: []string{"read_file"}, MaxAttempts: 3, TTL: time.Hour}, []byte(`{"name":"n"}`)))
	payloads := make([][]byte, n)
	for i := range payloads {
		payloads[i] = fmt.Appendf(nil, `{"in":{"path":"papers/%04d.txt","question":"What does the paper claim?"}}`, i)
	}
	_, err := w.store.Feed(ctx, id, 0, payloads)
	require.NoError(w, err)
	_, err = w.store.Seal(ctx, id, int64(n))
	require.NoError(w, err)
	return id
}

const consumer = "node-1-abc"

// claim leases the next n jobs of a batch.
func (w *world) claim(id batch.ID, n int) []statestore.Claimed {
	w.Helper()
	_, jobs, err := w.store.Claim(w.Context(), statestore.ClaimParams{Batch: id, Consumer: consumer, Count: n, Lease: time.Minute})
	require.NoError(w, err)
	require.Len(w, jobs, n)
	return jobs
}

// finish ends jobs. Every tenth one fails.
func (w *world) finish(jobs []statestore.Claimed) {
	w.Helper()
	var done []statestore.Completion
	for _, j := range jobs {
		i := j.Lease.Job.Index
		r := batch.Result{
			Batch: j.Lease.Job.Batch, JobID: batch.JobID(i), Index: i, Status: batch.OK, Attempts: 1, Turns: 2,
			Output: json.RawMessage(fmt.Sprintf(`{"summary":"Paper %d claims that shared prefixes halve the cost of long batches.","score":%d}`, i, i%5)),
			Usage:  batch.Usage{PromptTokens: 1812, CachedTokens: 1540, CompletionTokens: 157},
			Tools:  batch.ToolCounts{Asked: 2, Executed: i % 2}, Model: "qwen3-32b", Worker: "node-1", WallMS: 300 + (i*i*37)%9000,
			Times: batch.Times{Slot: 20, PrefillCold: 60, PrefillCached: 40, Decode: 90, Tools: 50 + (i*i*37)%9000/2, Journal: 4},
		}
		switch i % 20 {
		case 10:
			r.Status, r.Output, r.Error = batch.StatusFailed, nil, batch.NewError(batch.OutputInvalid, "the answer does not match the schema: at /score: got string, want integer")
		case 19:
			r.Status, r.Output, r.Error = batch.StatusFailed, nil, batch.NewError(batch.BackendUnavailable, "the model server answered 503 four times in a row")
		}
		done = append(done, statestore.Completion{Lease: j.Lease, Result: r})
	}
	for len(done) > 0 {
		n := min(len(done), statestore.MaxFinish)
		_, _, err := w.store.Finish(w.Context(), jobs[0].Lease.Job.Batch, done[:n])
		require.NoError(w, err)
		done = done[n:]
	}
}

// journal writes two turns of a job. The first has tool calls.
func (w *world) journal(j statestore.Claimed) {
	w.Helper()
	turns := []agent.Turn{
		{
			Assistant: backend.Message{Role: backend.RoleAssistant, Content: "I will read the paper first.",
				Reasoning: &backend.Reasoning{Text: "The paper may be <b>long</b>.", Protocol: backend.ProtocolChat, Fields: []string{"reasoning"}}, ToolCalls: []backend.ToolCall{
					{ID: "c1", Name: "read_file", Arguments: `{"path":"papers/0007.txt"}`}, {ID: "c2", Name: "files__search", Arguments: `{"query":"<script>alert(1)</script>"}`},
				}},
			Tools: []backend.Message{
				{Role: backend.RoleTool, ToolCallID: "c1", Content: "Abstract. We show that agents which share a prefix …"},
				{Role: backend.RoleTool, ToolCallID: "c2", Content: "no match"},
			},
			Sources: []agent.CallSource{{From: toolpool.FromTool}, {From: toolpool.FromCluster, By: "node-2-abc"}},
			Usage:   batch.Usage{PromptTokens: 812, CachedTokens: 640, CompletionTokens: 57}, Counts: batch.ToolCounts{Asked: 2, Executed: 1}, Model: "qwen3-32b",
		},
		{
			Assistant: backend.Message{Role: backend.RoleAssistant, Content: `{"summary":"The paper claims …","score":"four"}`},
			Repair:    "The answer does not match the schema: at /score: got string, want integer. Answer again.",
			Usage:     batch.Usage{PromptTokens: 1502, CachedTokens: 869, CompletionTokens: 41}, Model: "qwen3-32b",
		},
	}
	for n, turn := range turns {
		data, err := json.Marshal(turn)
		require.NoError(w, err)
		require.NoError(w, w.store.Checkpoint(w.Context(), j.Lease, n+1, data))
	}
}

// workers registers three workers. The last one is not ready.
func (w *world) workers() {
	w.Helper()
	for i, ready := range []bool{true, true, false} {
		require.NoError(w, w.store.Register(w.Context(), batch.WorkerRecord{
			ID: fmt.Sprintf("node-%d", i+1), Consumer: fmt.Sprintf("node-%d-abc", i+1), Version: "v0.2.0", Host: fmt.Sprintf("gpu-host-%d", i+1),
			Endpoint: "vllm://127.0.0.1:8000", Models: []string{"qwen3-32b"}, Tools: []string{"read_file", "grep_files", "files__search"},
			ToolUse: map[string]batch.ToolUse{
				"read_file":     {Asked: 4120, Executed: 611, Shared: 309, Cached: 3200, Failed: 12, Finished: 611, Seconds: 18.4},
				"files__search": {Asked: 1200, Executed: 300, Shared: 700, Cached: 200, Finished: 300, Seconds: 930},
			},
			Ready: ready, LiveAgents: 37 - 12*i, MaxAgents: 64, SlotsInUse: 24, Slots: 32, SlotQueue: 5, JobsDone: 1204, KVHeld: 311_000 - int64(i)*90_000, KVCapacity: 412_000,
			Usage: batch.Usage{PromptTokens: 2_181_000, CachedTokens: 1_540_000}, TokensPerSec: 1873.4,
		}, time.Minute))
	}
}

// scene builds a busy cluster: a running batch, a batch that is done with failures, a cancelled one, and one with
// waiting jobs. It returns the first two. In the running batch, job 210 runs. In the other one, job 10 failed.
func (w *world) scene() (running, done batch.ID) {
	w.Helper()
	w.workers()
	done = w.batch("support-tickets", 240)
	w.finish(w.claim(done, 240))
	cancelled := w.batch("code-review of the whole monorepo with a rather long name", 40)
	w.finish(w.claim(cancelled, 9))
	w.ask("POST", "/api/v1/batches/"+string(cancelled)+"/cancel", "")
	w.batch("nightly-labels", 5)
	running = w.batch("paper-extraction", 400)
	w.finish(w.claim(running, 210))
	jobs := w.claim(running, 32)
	w.journal(jobs[0])
	return running, done
}

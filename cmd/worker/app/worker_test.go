package app

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/vllmsim"
)

// log collects a worker's output.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func work(ctx context.Context, args ...string) (status int, said string) {
	var errOut log
	status = run(ctx, append([]string{"worker"}, args...), &errOut)
	return status, errOut.String()
}

func TestWorkerUsageErrors(t *testing.T) {
	redis, _ := testredis.Mini(t)
	for name, c := range map[string]struct {
		args   []string
		status int
		says   string
	}{
		"no such flag":           {[]string{"--bakend", "x"}, exitUsage, "worker --help"},
		"an argument":            {[]string{"now"}, exitUsage, `"now"`},
		"unknown backend":        {[]string{"--backend", "gopher://x"}, exitUsage, "vllm://"},
		"a malformed Redis URL":  {[]string{"--redis", "localhost"}, exitUsage, "redis://"},
		"no such folder":         {[]string{"--redis", redis, "--tools-root", "/no/such/folder"}, exitUsage, "/no/such/folder"},
		"an unknown log level":   {[]string{"--log-level", "loud"}, exitUsage, "loud"},
		"public profiles":        {[]string{"--redis", redis, "--pprof", "0.0.0.0:0"}, exitUsage, "127.0.0.1"},
		"an address that is bad": {[]string{"--redis", redis, "--listen", "nowhere"}, exitUsage, "--listen"},
		"Redis away":             {[]string{"--redis", "redis://:hunter2@127.0.0.1:1"}, exitUnreachable, "127.0.0.1:1"},
		"a key inside the URL":   {[]string{"--redis", redis, "--backend", "vllm://hunter2@127.0.0.1:1"}, exitUsage, "VLLM_API_KEY"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			status, said := work(ctx, c.args...)
			assert.Equal(t, c.status, status, said)
			assert.Contains(t, said, c.says)
			assert.NotContains(t, said, "hunter2")
		})
	}
}

// A worker becomes ready, is listed, runs submitted jobs, and drains when it is stopped.
func TestWorkerLifecycle(t *testing.T) {
	redis, _ := testredis.Mini(t)
	sim, err := vllmsim.New(vllmsim.Config{})
	require.NoError(t, err)
	server := httptest.NewServer(sim)
	defer server.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())

	ctx, stop := context.WithCancel(t.Context())
	var said log
	status := -1
	var running sync.WaitGroup
	running.Go(func() {
		status = run(ctx, []string{"worker", "--redis", redis, "--backend", "vllm://" + server.Listener.Addr().String(), "--id", "node-7",
			"--listen", address, "--lease", "2s", "--log-format", "json"}, &said)
	})
	page := func(path string) (int, string) {
		resp, err := http.Get("http://" + address + path)
		if err != nil {
			return 0, ""
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(body)
	}
	require.Eventually(t, func() bool { code, _ := page("/readyz"); return code == http.StatusOK }, 20*time.Second, 10*time.Millisecond, said.String())
	code, _ := page("/healthz")
	assert.Equal(t, http.StatusOK, code)

	store, err := statestore.Open(t.Context(), redis, statestore.Options{})
	require.NoError(t, err)
	defer store.Close()
	id := statestore.NewID(time.Now())
	plan := `{"name":"n","system":"","task":"say {x}","max_turns":1,"max_retries":1,"max_attempts":3,"timeouts":{"turn":60000000000,"tool":60000000000},"ttl":3600000000000}`
	require.NoError(t, store.Create(t.Context(), batch.Header{ID: id, Name: "n", MaxAttempts: 3, TTL: time.Hour}, []byte(plan)))
	var jobs [][]byte
	for i := range 10 {
		jobs = append(jobs, fmt.Appendf(nil, `{"in":{"x":"%d"}}`, i))
	}
	_, err = store.Feed(t.Context(), id, 0, jobs)
	require.NoError(t, err)
	_, err = store.Seal(t.Context(), id, 10)
	require.NoError(t, err)
	require.NoError(t, store.Ring(t.Context(), statestore.Event{Kind: statestore.JobsWaiting, Batch: id}))
	require.Eventually(t, func() bool {
		phase, err := store.Phase(t.Context(), id)
		return err == nil && phase == batch.Done
	}, 20*time.Second, 10*time.Millisecond, said.String())
	workers, err := store.Workers(t.Context())
	require.NoError(t, err)
	require.Len(t, workers, 1)
	assert.Equal(t, "node-7", workers[0].ID)
	_, metrics := page("/metrics")
	assert.Contains(t, metrics, "batchagent_jobs_finished_total")

	stop()
	running.Wait()
	assert.Equal(t, exitOK, status, said.String())
	workers, err = store.Workers(t.Context())
	require.NoError(t, err)
	assert.Empty(t, workers, "a worker that left in order is not listed")
	assert.True(t, strings.Contains(said.String(), "draining"))
}

package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/internal/server"
	"github.com/batchagent/batchagent/internal/terminal"
	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/vllmsim"
)

// serving starts an API server in front of a Redis, both in this process.
func serving(t *testing.T, redis, token string) (url string) {
	t.Helper()
	store, err := statestore.Open(t.Context(), redis, statestore.Options{})
	require.NoError(t, err)
	s, err := server.New(server.Config{Store: store, Token: token, Rate: 1e6})
	require.NoError(t, err)
	h := httptest.NewServer(s)
	t.Cleanup(func() {
		s.Close()
		h.Close()
		assert.NoError(t, store.Close())
	})
	return h.URL
}

// Every command does the same over a server and over Redis.
func TestBatchOverServer(t *testing.T) {
	redis, _ := testredis.Mini(t)
	node(t, redis, simulator(t, vllmsim.Config{}))
	env := map[string]string{"BATCHAGENT_API_TOKEN": "t0ken"}
	url := serving(t, redis, "t0ken")
	at := func(args ...string) []string { return append(args, "--server", url) }
	spec := specOf(t, 700, "")
	out := filepath.Join(t.TempDir(), "results.jsonl")

	submitted := coordinate(t, env, "", at("submit", spec, "--follow", "--out", out)...)
	require.Equal(t, terminal.ExitOK, submitted.status, submitted.err)
	id := strings.TrimSpace(submitted.out)
	_, err := batch.ParseID(id)
	require.NoError(t, err)
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	assert.Equal(t, 700, linesIn(string(text)))

	direct := coordinate(t, env, "", "results", id, "--redis", redis)
	assert.Equal(t, direct.out, coordinate(t, env, "", at("results", id)...).out, "the same lines")
	ordered := coordinate(t, env, "", at("results", id, "--ordered")...)
	for i, line := range strings.Split(strings.TrimSpace(ordered.out), "\n") {
		var r batch.Result
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		require.EqualValues(t, i, r.Index)
	}
	assert.Equal(t, coordinate(t, env, "", "status", id, "--json", "--redis", redis).out, coordinate(t, env, "", at("status", id, "--json")...).out)
	assert.Contains(t, coordinate(t, env, "", at("batches")...).out, id)
	assert.Contains(t, coordinate(t, env, "", at("workers")...).out, "node-1")
	explained := coordinate(t, env, "", at("explain", id)...)
	assert.Equal(t, coordinate(t, env, "", "explain", id, "--redis", redis).out, explained.out)
	assert.Contains(t, coordinate(t, env, "", at("budget", id, "--tokens", "9000000")...).err, "it is done, so this changes nothing")
	unasked := coordinate(t, env, "", at("resolve", id, "job-3", "--outcome", "done")...)
	assert.Equal(t, terminal.ExitUsage, unasked.status)
	assert.Contains(t, unasked.err, "nothing is asked about job-3")
	assert.Contains(t, coordinate(t, env, "", at("retry", id)...).err, "no failed jobs")
	assert.Contains(t, coordinate(t, env, "", at("cancel", id)...).err, "nothing to cancel")
	assert.Contains(t, coordinate(t, env, "", at("rm", id)...).err, "is removed")
	gone := coordinate(t, env, "", at("status", id)...)
	assert.Equal(t, terminal.ExitUsage, gone.status)
	assert.Contains(t, gone.err, "no such batch")
}

// A batch with stages also works over a server: plan, jobs and summary are the same as over Redis.
func TestStagesOverServer(t *testing.T) {
	redis, _ := testredis.Mini(t)
	node(t, redis, simulator(t, vllmsim.Config{}))
	url := serving(t, redis, "")
	at := func(args ...string) outcome { return coordinate(t, nil, "", append(args, "--server", url)...) }

	planned := at("submit", written(t, "s.yaml", plannedSpec+"prices: {prompt: 1, completion: 2}\n"), "--follow")
	require.Equal(t, terminal.ExitOK, planned.status, planned.err)
	id, lines, _ := strings.Cut(planned.out, "\n")
	plan, jobs, summary := planOf(t, lines)
	require.Len(t, jobs, len(itemsOf(t, plan)))
	assert.Contains(t, string(summary.Output), "Join these 3 notes")
	assert.Regexp(t, `\n +plan [\d,]+   jobs [\d,]+   reduce [\d,]+\n`, planned.err, "the summary shows the use of each stage")

	status := at("status", id)
	require.Equal(t, terminal.ExitOK, status.status, status.err)
	assert.Equal(t, coordinate(t, nil, "", "status", id, "--json", "--redis", redis).out, at("status", id, "--json").out)
	for _, name := range []string{"tokens", "cost", "tools"} {
		said := regexp.MustCompile(`(?m)^` + name + ` +(.*(?:\n .*)?)`)
		assert.Equal(t, strings.Fields(said.FindStringSubmatch(planned.err)[1])[:3], strings.Fields(said.FindStringSubmatch(status.out)[1])[:3], name)
	}

	poor := at("submit", specOf(t, 40, "budget: {batch: {tokens: 10}}\nmax_inflight: 1\n"), "--follow")
	assert.Equal(t, terminal.ExitBrokenOff, poor.status, poor.err)
	assert.Contains(t, poor.err, "is paused")
	paused, _, _ := strings.Cut(poor.out, "\n")
	assert.Equal(t, terminal.ExitUsage, at("budget", paused).status)
	assert.Contains(t, at("budget", paused, "--usd", "1").err, "has no prices")
	raised := at("budget", paused, "--tokens", "1000000")
	require.Equal(t, terminal.ExitOK, raised.status, raised.err)
	assert.Contains(t, raised.err, "it continues")
	assert.Equal(t, terminal.ExitOK, at("results", paused, "--follow").status)

	chained := at("submit", written(t, "s.yaml", "task: \"{answer}\"\ninputs: {batch: "+id+"}\n"))
	assert.Equal(t, terminal.ExitUsage, chained.status)
	assert.Contains(t, chained.err, "inputs: {results: FILE}")

	reduced := at("submit", specOf(t, 12, reduceField), "--follow")
	require.Equal(t, terminal.ExitOK, reduced.status, reduced.err)
	_, lines, _ = strings.Cut(reduced.out, "\n")
	all := results(t, lines)
	require.Len(t, all, 13)
	assert.Contains(t, string(all[12].Output), "Join these 12 notes")
	removed := at("rm", id)
	require.Equal(t, terminal.ExitOK, removed.status, removed.err)
	assert.NotContains(t, at("batches").out, id)
}

func TestErrorsOverServer(t *testing.T) {
	redis, _ := testredis.Mini(t)
	url := serving(t, redis, "t0ken")
	spec := specOf(t, 2, "")
	none := "b_01k0000000000000000000000a"
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("t0ken\n"), 0o600))
	for name, c := range map[string]struct {
		args   []string
		status int
		says   []string
	}{
		"no token":             {[]string{"submit", spec, "--server", url}, terminal.ExitUsage, []string{"BATCHAGENT_API_TOKEN"}},
		"unknown batch":        {[]string{"results", none, "--server", url, "--token-file", file}, terminal.ExitUsage, []string{none}},
		"no server":            {[]string{"status", none, "--server", "http://127.0.0.1:1"}, terminal.ExitUnreachable, []string{"127.0.0.1:1", "coordinator serve"}},
		"not a URL":            {[]string{"batches", "--server", "localhost:8080"}, terminal.ExitUsage, []string{"http://127.0.0.1:8080"}},
		"password in the URL":  {[]string{"batches", "--server", "http://me:hunter2@h:1"}, terminal.ExitUsage, []string{"--token-file"}},
		"both":                 {[]string{"batches", "--server", url, "--redis", redis}, terminal.ExitUsage, []string{"name one"}},
		"consume":              {[]string{"results", none, "--server", url, "--consume", "--out", "x"}, terminal.ExitUsage, []string{"--consume"}},
		"no token file":        {[]string{"batches", "--server", url, "--token-file", "nowhere"}, terminal.ExitUsage, []string{"nowhere"}},
		"open to all":          {[]string{"serve", "--redis", redis, "--listen", "0.0.0.0:0"}, terminal.ExitUsage, []string{"BATCHAGENT_API_TOKEN", "127.0.0.1", "--without-token"}},
		"a server without one": {[]string{"serve", "--redis", "redis://127.0.0.1:1", "--listen", "127.0.0.1:0"}, terminal.ExitUnreachable, []string{"127.0.0.1:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := coordinate(t, nil, "", c.args...)
			assert.Equal(t, c.status, r.status, r.err)
			for _, says := range c.says {
				assert.Contains(t, r.err, says)
			}
			assert.Empty(t, r.out)
			assert.NotContains(t, r.err, "hunter2")
		})
	}
}

// `status --watch` waits until the batch is done and then prints its final state.
func TestStatusWatches(t *testing.T) {
	redis, _ := testredis.Mini(t)
	store, err := statestore.Open(t.Context(), redis, statestore.Options{})
	require.NoError(t, err)
	defer store.Close()
	id := strings.TrimSpace(coordinate(t, nil, "", "submit", specOf(t, 3, ""), "--redis", redis).out)
	for _, at := range [][]string{{"--redis", redis}, {"--server", serving(t, redis, "")}} {
		ended := make(chan outcome, 1)
		go func() { ended <- coordinate(t, nil, "", append([]string{"status", id, "--watch"}, at...)...) }()
		_, err := operation.On(store, nil).Cancel(t.Context(), batch.ID(id))
		assert.NoError(t, err)
		r := <-ended
		assert.Equal(t, terminal.ExitOK, r.status, r.err)
		assert.Contains(t, r.out, "state      cancelled: 3 of 3 jobs have no output")
		assert.Contains(t, r.out, "cancelled 3")
	}
}

// `serve` runs until it is interrupted and then stops in order. In a container it listens on every address without a
// token. It still refuses requests for foreign host names, so that no web page can reach it.
func TestServeUntilInterrupted(t *testing.T) {
	redis, _ := testredis.Mini(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, l.Close())
	ctx, interrupt := context.WithCancel(t.Context())
	ended := make(chan outcome, 1)
	go func() {
		ended <- coordinateIn(t, ctx, nil, "", "serve", "--redis", redis, "--listen", "0.0.0.0:"+port, "--without-token")
	}()
	// Two commands in one process must not parse their flags at the same time, so the test polls with plain HTTP.
	url := "http://127.0.0.1:" + port
	for {
		if resp, err := http.Get(url + "/readyz"); err == nil {
			require.NoError(t, resp.Body.Close())
			http.DefaultClient.CloseIdleConnections()
			break
		}
		<-time.After(5 * time.Millisecond)
	}
	submitted := coordinate(t, nil, "", "submit", specOf(t, 3, ""), "--server", url)
	assert.Equal(t, terminal.ExitOK, submitted.status, submitted.err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/api/v1/batches", nil)
	require.NoError(t, err)
	req.Host = "evil.example:" + port
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusMisdirectedRequest, resp.StatusCode)
	http.DefaultClient.CloseIdleConnections()
	interrupt()
	r := <-ended
	assert.Equal(t, terminal.ExitOK, r.status, r.err)
	assert.Contains(t, r.err, "serving http://")
	assert.Contains(t, r.err, "without a token")
}

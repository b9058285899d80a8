package vllm

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/backendtest"
	"github.com/batchagent/batchagent/pkg/vllmsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	_ backend.Backend      = (*Backend)(nil)
	_ backend.TokenCounter = (*Backend)(nil)
	_ backend.LoadReporter = (*Backend)(nil)
)

func env(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func open(t *testing.T, addr string) *Backend {
	t.Helper()
	b, err := New(Config{URL: "vllm://" + addr, Getenv: env(nil)})
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	return b
}

// replayed opens a backend on a server that answers every request with a recording.
func replayed(t *testing.T, name string) (*Backend, *backendtest.Server) {
	t.Helper()
	server := backendtest.Replay(t, backendtest.Reply{Bytes: backendtest.Recording(t, name)})
	return open(t, server.Addr), server
}

func ask() *backend.Request {
	return &backend.Request{ID: "b_1/job-3#2", Model: "smollm2-135m",
		Messages: []backend.Message{{Role: backend.RoleUser, Content: "hello"}}}
}

func TestConformanceOnTheSimulator(t *testing.T) {
	backendtest.Run(t, backendtest.Features{Tools: true, Forced: true, Images: true, Schema: true, Tokenizer: true, Load: true}, func(t *testing.T) backendtest.Target {
		sim, err := vllmsim.New(vllmsim.Config{TokenMS: 1})
		require.NoError(t, err)
		server := httptest.NewServer(sim)
		t.Cleanup(server.Close)
		return backendtest.Target{
			Backend: open(t, server.Listener.Addr().String()),
			Model:   "sim",
			Dead: func() backend.Backend {
				listener, err := net.Listen("tcp", "127.0.0.1:0")
				require.NoError(t, err)
				require.NoError(t, listener.Close())
				return open(t, listener.Addr().String())
			},
		}
	})
}

func TestSimulatedModelIsMarked(t *testing.T) {
	sim, err := vllmsim.New(vllmsim.Config{})
	require.NoError(t, err)
	server := httptest.NewServer(sim)
	defer server.Close()
	models, err := open(t, server.Listener.Addr().String()).Models(t.Context())
	require.NoError(t, err)
	require.Len(t, models, 1)
	assert.True(t, models[0].Simulated)
	assert.Positive(t, models[0].MaxModelLen)
}

func TestHigherPriorityIsSentAsLower(t *testing.T) {
	cases := []struct {
		hints backend.Hints
		want  map[string]any
	}{
		{backend.Hints{Priority: 5, Session: "b_1/job-3"}, map[string]any{"priority": -5_000.0, "session_id": "b_1/job-3"}},
		{backend.Hints{Priority: -2}, map[string]any{"priority": 2_000.0, "session_id": nil}},
		{backend.Hints{Priority: -2, Rank: 7}, map[string]any{"priority": 2_007.0}},
		{backend.Hints{Rank: 5_000}, map[string]any{"priority": 999.0}},
		{backend.Hints{}, map[string]any{"priority": nil, "session_id": nil}},
	}
	for _, c := range cases {
		b, server := replayed(t, "vllm-0.32/chat-stream")
		r := ask()
		r.Hints = c.hints
		_, err := b.Generate(t.Context(), r, backend.Observer{})
		require.NoError(t, err)
		var body map[string]any
		require.NoError(t, json.Unmarshal(server.Requests()[0].Content, &body))
		for field, want := range c.want {
			assert.Equal(t, want, body[field], field)
		}
	}
}

func TestRepeatedCallHasItsOwnRequestID(t *testing.T) {
	b, server := replayed(t, "vllm-0.32/chat-stream")
	ids := map[any]bool{}
	for range 2 {
		_, err := b.Generate(t.Context(), ask(), backend.Observer{})
		require.NoError(t, err)
	}
	for _, r := range server.Requests() {
		var body map[string]any
		require.NoError(t, json.Unmarshal(r.Content, &body))
		assert.Regexp(t, `^b_1/job-3#2-[0-9a-z]+$`, body["request_id"])
		ids[body["request_id"]] = true
	}
	assert.Len(t, ids, 2)
}

func TestReadyUsesTheHealthRoute(t *testing.T) {
	b, server := replayed(t, "vllm-0.32/health")
	require.NoError(t, b.Ready(t.Context()))
	assert.Equal(t, "/health", server.Requests()[0].URL.Path)

	dead := backendtest.Replay(t, backendtest.Reply{Bytes: []byte("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")})
	assert.Equal(t, backend.Overloaded, backend.ClassOf(open(t, dead.Addr).Ready(t.Context())))
}

func TestTokensOfMessagesAndToolsAreCounted(t *testing.T) {
	b, server := replayed(t, "vllm-0.32/tokenize-tools")
	r := ask()
	r.Tools = []backend.Tool{{Name: "f", Parameters: []byte(`{"type":"object"}`)}}
	n, err := b.CountTokens(t.Context(), r)
	require.NoError(t, err)
	assert.Equal(t, 170, n)
	sent := server.Requests()[0]
	assert.Equal(t, "/tokenize", sent.URL.Path)
	assert.JSONEq(t, `{"model":"smollm2-135m","messages":[{"role":"user","content":"hello"}],
		"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]}`, string(sent.Content))
}

func TestPromptOverTheWindowIsCountedInFull(t *testing.T) {
	b, _ := replayed(t, "vllm-0.32/tokenize-too-long")
	n, err := b.CountTokens(t.Context(), ask())
	require.NoError(t, err)
	assert.Greater(t, n, 4096)
}

func TestTokenizerWithoutCountIsAnError(t *testing.T) {
	b, _ := replayed(t, "vllm-0.32/models")
	_, err := b.CountTokens(t.Context(), ask())
	assert.ErrorContains(t, err, "no count")
}

func TestLoadOfARealServer(t *testing.T) {
	b, _ := replayed(t, "vllm-0.32-guarded/metrics-under-load")
	load, err := b.Load(t.Context())
	require.NoError(t, err)
	assert.Equal(t, backend.Load{
		Running: 4, Waiting: 0, KVUsage: 0.17391304347826086, KVCapacityTokens: 3072, Preemptions: 0,
	}, load)
}

func TestLoadOfOtherPages(t *testing.T) {
	none := backend.Load{Running: -1, Waiting: -1, KVUsage: -1, KVCapacityTokens: -1, Preemptions: -1}
	with := func(edit func(*backend.Load)) backend.Load {
		l := none
		edit(&l)
		return l
	}
	cases := []struct {
		name, page string
		want       backend.Load
	}{
		{"nothing", "", none},
		{"old names", "vllm:gpu_cache_usage_perc 0.5\n",
			with(func(l *backend.Load) { l.KVUsage = 0.5 })},
		{"new names win", "vllm:gpu_cache_usage_perc 0.5\nvllm:kv_cache_usage_perc 0.25\n",
			with(func(l *backend.Load) { l.KVUsage = 0.25 })},
		{"two engines", `vllm:num_requests_running{engine="0"} 3
vllm:num_requests_running{engine="1"} 4
vllm:kv_cache_usage_perc{engine="0"} 0.3
vllm:kv_cache_usage_perc{engine="1"} 0.9
vllm:cache_config_info{engine="0",block_size="16",num_gpu_blocks="100"} 1
vllm:cache_config_info{engine="1",block_size="16",num_gpu_blocks="100",kv_cache_size_tokens="1500"} 1
`, with(func(l *backend.Load) { l.Running, l.KVUsage, l.KVCapacityTokens = 7, 0.9, 3100 })},
		{"a connector to a second tier", "vllm:external_prefix_cache_queries_total{engine=\"0\"} 12\n", with(func(l *backend.Load) { l.Tier = true })},
		{"blocks not known yet", "vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"None\"} 1\n", none},
	}
	for _, c := range cases {
		load, err := parseLoad([]byte(c.page))
		require.NoError(t, err, c.name)
		assert.Equal(t, c.want, load, c.name)
	}
	_, err := parseLoad([]byte("vllm:x{"))
	assert.Error(t, err)
}

func TestKeyComesFromTheEnvironment(t *testing.T) {
	server := backendtest.Replay(t, backendtest.Reply{Bytes: backendtest.Recording(t, "vllm-0.32/models")})
	cases := []struct {
		vars map[string]string
		want string
	}{
		{map[string]string{"BATCHAGENT_API_KEY": " first\n", "VLLM_API_KEY": "second"}, "Bearer first"},
		{map[string]string{"VLLM_API_KEY": "second", "OPENAI_API_KEY": "paid"}, "Bearer second"},
		{map[string]string{"OPENAI_API_KEY": "paid"}, ""},
	}
	for i, c := range cases {
		b, err := New(Config{URL: "vllm://" + server.Addr, Getenv: env(c.vars)})
		require.NoError(t, err)
		_, err = b.Models(t.Context())
		require.NoError(t, err)
		assert.Equal(t, c.want, server.Requests()[i].Header.Get("Authorization"))
		require.NoError(t, b.Close())
	}
}

func TestKeyInTheURLIsRefused(t *testing.T) {
	for _, url := range []string{"vllm://user:hunter2@host:8000", "vllm://host?key=hunter2"} {
		_, err := New(Config{URL: url, Getenv: env(nil)})
		require.ErrorContains(t, err, "BATCHAGENT_API_KEY")
		assert.NotContains(t, err.Error(), "hunter2")
	}
}

func TestUnencryptedKeyIsWarnedAboutWithoutShowingIt(t *testing.T) {
	vars := env(map[string]string{"VLLM_API_KEY": "hunter2"})
	for url, warns := range map[string]bool{"vllm://10.1.2.3": true, "vllm://127.0.0.1": false, "vllm+https://10.1.2.3": false} {
		var log bytes.Buffer
		b, err := New(Config{URL: url, Getenv: vars, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(t, err)
		require.NoError(t, b.Close())
		assert.Equal(t, warns, bytes.Contains(log.Bytes(), []byte("unencrypted")), url)
		assert.NotContains(t, log.String(), "hunter2")
	}
}

func TestOddModels(t *testing.T) {
	backendtest.RunOdd(t, func(t *testing.T, addr string) backend.Backend { return open(t, addr) })
}

// A missing ability is detected by use, omitted afterwards, and logged once.
func TestMissingAbilityIsOmittedAndLoggedOnce(t *testing.T) {
	bodies := make(chan string, 16)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path != "/v1/chat/completions" {
			http.NotFound(w, r)
			return
		}
		bodies <- string(body)
		for _, field := range []string{"priority", "session_id"} {
			if bytes.Contains(body, []byte(`"`+field+`":`)) {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, `{"error":{"message":"Got `+field+` but it is not enabled.","type":"BadRequestError","param":null,"code":400}}`)
				return
			}
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\n"+
			"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n")
	}))
	defer server.Close()
	var log bytes.Buffer
	b, err := New(Config{URL: "vllm://" + server.Listener.Addr().String(), Getenv: env(nil), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	defer b.Close()
	r := ask()
	r.Hints = backend.Hints{Priority: 2, Session: "b_1/job-3"}
	for range 2 {
		_, err = b.Generate(t.Context(), r, backend.Observer{})
		require.NoError(t, err)
		load, err := b.Load(t.Context())
		require.NoError(t, err)
		assert.Equal(t, -1, load.Running)
	}
	require.Len(t, bodies, 4, "two refusals, two answers")
	for range 3 {
		<-bodies
	}
	last := <-bodies
	assert.NotContains(t, last, "priority")
	assert.Contains(t, last, "request_id", "fields that were not refused are still sent")
	for _, what := range []string{"what=priority", "what=session_id", "pass on /metrics"} {
		assert.Equal(t, 1, strings.Count(log.String(), what), log.String())
	}
	assert.Equal(t, 3, strings.Count(log.String(), "WARN"))
}

// vLLM reports cached tokens only if there are any.
func TestMissingCachedTokensAreLoggedAfterManyAnswers(t *testing.T) {
	var log bytes.Buffer
	open := func() *Backend {
		b, err := New(Config{URL: "vllm://127.0.0.1", Getenv: env(nil), Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(t, err)
		t.Cleanup(func() { b.Close() })
		return b
	}
	b := open()
	for range 3 * silentAnswers {
		b.watchCached(backend.Usage{PromptTokens: 10, CachedTokens: -1})
	}
	for range silentAnswers - 1 {
		b.watchCached(backend.Usage{PromptTokens: 1000, CachedTokens: -1})
	}
	assert.Empty(t, log.String())
	b.watchCached(backend.Usage{PromptTokens: 1000, CachedTokens: -1})
	assert.Contains(t, log.String(), "--enable-prompt-tokens-details")

	log.Reset()
	b = open()
	b.watchCached(backend.Usage{PromptTokens: 1000, CachedTokens: 16})
	for range 3 * silentAnswers {
		b.watchCached(backend.Usage{PromptTokens: 1000, CachedTokens: -1})
	}
	assert.Empty(t, log.String(), "the flag is there")
}

func TestOtherRefusalsAreReturned(t *testing.T) {
	b, server := replayed(t, "vllm-0.32/err-temperature")
	r := ask()
	r.Hints = backend.Hints{Priority: 2, Session: "s"}
	_, err := b.Generate(t.Context(), r, backend.Observer{})
	assert.Equal(t, backend.InvalidRequest, backend.ClassOf(err))
	assert.Len(t, server.Requests(), 1)
}

func TestCallsSideBySideLearnFromOneRefusal(t *testing.T) {
	var together sync.WaitGroup
	together.Add(8)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if bytes.Contains(body, []byte(`"priority":`)) {
			together.Done()
			together.Wait() // all eight are refused
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":{"message":"no priority here","code":400}}`)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
	}))
	defer server.Close()
	b := open(t, server.Listener.Addr().String())
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			r := ask()
			r.Hints.Priority = 1
			_, err := b.Generate(t.Context(), r, backend.Observer{})
			assert.NoError(t, err)
		})
	}
	calls.Wait()
}

func TestReasoningIsSentBack(t *testing.T) {
	backendtest.RunChatReasoning(t, "", func(t *testing.T, addr string) backend.Backend { return open(t, addr) })
}

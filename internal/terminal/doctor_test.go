package terminal

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/internal/diagnose"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/vllmsim"
)

func doctor(t *testing.T, o diagnose.DoctorOptions) (string, int) {
	t.Helper()
	var out bytes.Buffer
	if o.ToolsRoot == "" {
		o.ToolsRoot = t.TempDir()
	}
	o.Getenv = func(string) string { return "" }
	err := Doctor(t.Context(), &out, o)
	return out.String(), ExitStatus(t.Context(), err)
}

func simulator(t *testing.T) string {
	t.Helper()
	sim, err := vllmsim.New(vllmsim.Config{TokenMS: 0.1})
	require.NoError(t, err)
	s := httptest.NewServer(sim)
	t.Cleanup(s.Close)
	return "vllm://" + s.Listener.Addr().String()
}

func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

func TestDoctorPassesOnSoundCluster(t *testing.T) {
	out, status := doctor(t, diagnose.DoctorOptions{Redis: config.Redis{URL: "redis://" + miniredis.RunT(t).Addr()}, Backend: simulator(t)})
	assert.Equal(t, ExitOK, status, out)
	for _, line := range []string{"ok    redis latency", "ok    backend", "ok    tool call        get_weather(", "ok    schema answer", "ok    tools            ", "read_file below", "simulated"} {
		assert.Contains(t, out, line)
	}
	assert.NotContains(t, out, "FAIL")
}

func TestDoctorChecksEveryKindOfServer(t *testing.T) {
	redis := "redis://" + miniredis.RunT(t).Addr()
	host := simulator(t)[len("vllm://"):]
	for _, scheme := range []string{"vllm", "sglang", "dynamo", "openai+http", "http"} {
		t.Run(scheme, func(t *testing.T) {
			out, status := doctor(t, diagnose.DoctorOptions{Redis: config.Redis{URL: redis}, Backend: scheme + "://" + host})
			assert.Equal(t, ExitOK, status, out)
			for _, line := range []string{"ok    backend", scheme + "://" + host, "ok    tool call", "ok    schema answer"} {
				assert.Contains(t, out, line)
			}
			out, status = doctor(t, diagnose.DoctorOptions{Redis: config.Redis{URL: redis}, Backend: scheme + "://" + nobody(t)})
			assert.Equal(t, ExitUnreachable, status, out)
			assert.Contains(t, out, "-> start the server")
		})
	}
}

func TestDoctorNamesRemedies(t *testing.T) {
	redis := "redis://" + miniredis.RunT(t).Addr()
	for name, c := range map[string]struct {
		options diagnose.DoctorOptions
		status  int
		says    []string
	}{
		"no Redis":     {diagnose.DoctorOptions{Redis: config.Redis{URL: "redis://" + nobody(t)}, Backend: simulator(t)}, ExitUnreachable, []string{"FAIL  redis", "-> start redis-server", "ok    tool call"}},
		"no backend":   {diagnose.DoctorOptions{Redis: config.Redis{URL: redis}, Backend: "vllm://" + nobody(t)}, ExitUnreachable, []string{"FAIL  backend", "-> start the server"}},
		"wrong scheme": {diagnose.DoctorOptions{Redis: config.Redis{URL: redis}, Backend: "anthropic+http://" + simulator(t)[len("vllm://"):]}, ExitJobsFailed, []string{"ok    backend", "FAIL  tool call", "-> check the URL's scheme"}},
		"no tools":     {diagnose.DoctorOptions{Redis: config.Redis{URL: redis}, Backend: simulator(t), ToolsRoot: "/does/not/exist"}, ExitJobsFailed, []string{"FAIL  tools", "-> name a directory"}},
		"none named":   {diagnose.DoctorOptions{Redis: config.Redis{URL: redis}}, ExitOK, []string{"warn  backend", "-> name one with --backend"}},
		"not a URL":    {diagnose.DoctorOptions{Redis: config.Redis{URL: redis}, Backend: "gopher://x"}, ExitUsage, nil},
	} {
		t.Run(name, func(t *testing.T) {
			out, status := doctor(t, c.options)
			assert.Equal(t, c.status, status, out)
			for _, s := range c.says {
				assert.Contains(t, out, s)
			}
		})
	}
}

func TestDoctorChecksBackendWithoutRedis(t *testing.T) {
	redis := config.Redis{URL: "redis://" + nobody(t)}
	out, status := doctor(t, diagnose.DoctorOptions{Redis: redis, NoRedis: true, Backend: simulator(t)})
	assert.Equal(t, ExitOK, status, out)
	assert.Contains(t, out, "warn  redis")
	assert.Contains(t, out, "ok    tool call")
}

// A server that reports cached tokens only if there are any has the flag set.
func TestDoctorWarnsOnlyOfMissingCacheFlag(t *testing.T) {
	for name, c := range map[string]struct {
		reports bool
		warned  bool
	}{"reports cached tokens": {true, false}, "reports nothing": {false, true}} {
		t.Run(name, func(t *testing.T) {
			seen := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v1/chat/completions" {
					_, _ = io.WriteString(w, `{"data":[{"id":"m"}]}`)
					return
				}
				body, _ := io.ReadAll(r.Body)
				usage := `{"prompt_tokens":900,"completion_tokens":1}`
				if bytes.Contains(body, []byte("Paris is a city")) {
					if seen++; seen > 1 && c.reports {
						usage = `{"prompt_tokens":900,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":880}}`
					}
				}
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(w, `data: {"choices":[{"index":0,"delta":{"content":"{\"yes\":true}"},"finish_reason":"stop"}],"usage":`+usage+"}\n\ndata: [DONE]\n\n")
			}))
			defer server.Close()
			out, _ := doctor(t, diagnose.DoctorOptions{Redis: config.Redis{URL: "redis://" + miniredis.RunT(t).Addr()}, Backend: "vllm://" + server.Listener.Addr().String()})
			assert.Equal(t, c.warned, strings.Contains(out, "--enable-prompt-tokens-details"), out)
		})
	}
}

func TestSummaryNamesFieldsThatWereLeftOut(t *testing.T) {
	tally := collect.Tally{}
	for range 3 {
		tally.Add(batch.Result{Status: batch.OK, LeftOut: []string{"seed", "temperature"}})
	}
	assert.Contains(t, Summary{Tally: tally}.String(), "left out temperature: the model does not take it, so 3 results were made without it")
}

func TestBackendsTable(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, Backends(t.Context(), &out))
	assert.Regexp(t, `(?m)^anthropic +anthropic:// +pinned +- +- +yes +yes +4 to 32, found by AIMD$`, out.String())
	assert.Regexp(t, `(?m)^vllm +vllm://host:8000 +warmed +priority +yes +yes +yes +256$`, out.String())
	assert.Regexp(t, `(?m)^sglang +sglang://host:30000 +warmed +priority +yes +yes +yes +256$`, out.String())
	assert.Regexp(t, `(?m)^dynamo +dynamo://host:8000 +warmed +priority +yes +yes +yes +256$`, out.String())
	assert.Regexp(t, `(?m)^openai +openai:// +warmed +- +- +yes +yes +8 to 64, found by AIMD$`, out.String())
	assert.Regexp(t, `(?m)^openai-compatible +http://host:8000 +- +- +- +- +yes +8 to 32, found by AIMD$`, out.String())
	assert.Regexp(t, `(?m)^bedrock .* pinned .* 1 to 8, found by AIMD$`, out.String())
}

// The doctor distinguishes a model that calls no tool from a server that cannot parse calls or has no tool support.
func TestDoctorReportsWhyNoToolWasCalled(t *testing.T) {
	const call = `{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"get_weather","arguments":"{\"city\":\"Rome\"}"}}]}`
	const prose = `{"content":"It is sunny."}`
	for name, c := range map[string]struct{ auto, required, says string }{
		"untrained": {prose, call, "does when it has to"},
		"no parser": {`{"content":"<tool_call>{\"name\":\"get_weather\",\"arguments\":{}}</tool_call>"}`, call, "took it for text"},
		"no tools":  {prose, prose, "does not when it has to"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v1/models" {
					_, _ = io.WriteString(w, `{"data":[{"id":"m"}]}`)
					return
				}
				body, _ := io.ReadAll(r.Body)
				delta := c.auto
				if bytes.Contains(body, []byte(`"tool_choice":"required"`)) {
					delta = c.required
				}
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(w, `data: {"choices":[{"index":0,"delta":`+delta+`,"finish_reason":"stop"}]}`+"\n\ndata: [DONE]\n\n")
			}))
			defer server.Close()
			out, status := doctor(t, diagnose.DoctorOptions{Redis: config.Redis{URL: "redis://" + miniredis.RunT(t).Addr()}, Backend: "vllm://" + server.Listener.Addr().String()})
			assert.Equal(t, ExitJobsFailed, status, out)
			assert.Contains(t, out, "FAIL  tool call")
			assert.Contains(t, out, c.says)
			assert.Equal(t, name != "untrained", strings.Contains(out, "--tool-call-parser"), "a server that reads calls has its flags")
		})
	}
}

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/terminal"
)

// refusingServer is an OpenAI-compatible server that refuses every model call after the first good ones.
func refusingServer(t *testing.T, good int64, status int, body string) (url string) {
	t.Helper()
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/models"):
			fmt.Fprint(w, `{"object":"list","data":[{"id":"m","object":"model"}]}`)
		case calls.Add(1) > good:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		default:
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, `data: {"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"{\"s\":\"x\"}"},"finish_reason":"stop"}]}`+"\n\ndata: [DONE]\n\n")
		}
	}))
	t.Cleanup(server.Close)
	return "http://" + server.Listener.Addr().String() + "/v1"
}

func TestRunEndsAtOnceIfServerIsMisconfigured(t *testing.T) {
	for name, test := range map[string]struct {
		status    int
		body      string
		says, fix string
	}{
		"wrong key":     {401, `{"error":{"message":"Incorrect API key provided"}}`, `401 "Incorrect API key provided`, "set a valid key in BATCHAGENT_API_KEY"},
		"empty account": {402, `{"error":{"message":"Insufficient credits.","code":402}}`, `402 "Insufficient credits.`, "add credit to the account"},
		"unknown model": {404, `{"error":{"message":"The model m does not exist.","param":"model"}}`, `404 "The model m does not exist.`, "set `model` in the spec"},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "r.jsonl")
			got := coordinate(t, nil, "", "run", specOf(t, 50, ""), "--backend", refusingServer(t, 0, test.status, test.body), "--out", out)
			assert.Equal(t, terminal.ExitUnreachable, got.status, got.err)
			assert.Contains(t, got.err, test.says)
			assert.Contains(t, got.err, test.fix)
			text, err := os.ReadFile(out)
			require.NoError(t, err)
			assert.Empty(t, text, "no job failed")
		})
	}
}

func TestRunFailFastEndsAtARefusal(t *testing.T) {
	out := filepath.Join(t.TempDir(), "r.jsonl")
	server := refusingServer(t, 10, 402, `{"error":{"message":"Insufficient credits.","code":402}}`)
	got := coordinate(t, nil, "", "run", specOf(t, 50, ""), "--backend", server, "--out", out, "--fail-fast")
	assert.Equal(t, terminal.ExitUnreachable, got.status, got.err)
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	ok := strings.Count(string(text), `"status":"ok"`)
	assert.LessOrEqual(t, ok, 10)
	assert.Greater(t, ok, 10-4, "the end stops only agents whose answer has just arrived")
	assert.NotContains(t, string(text), `"failed"`)
}

func TestRunStopsAfterWaitForServer(t *testing.T) {
	out := filepath.Join(t.TempDir(), "r.jsonl")
	spec := specOf(t, 30, "")
	server := refusingServer(t, 10, 503, `{"error":{"message":"upstream connect error"}}`)
	got := coordinate(t, nil, "", "run", spec, "--backend", server, "--out", out, "--wait-for-server", "3s")
	assert.Equal(t, terminal.ExitUnreachable, got.status, got.err)
	assert.Contains(t, got.err, `server answers 503 "upstream connect error"`)
	assert.Contains(t, got.err, "unfinished, not failed")
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	assert.NotContains(t, string(text), `"failed"`)

	again := coordinate(t, nil, "", "run", spec, "--backend", refusingServer(t, 1000, 0, ""), "--out", out, "--resume")
	assert.Equal(t, terminal.ExitOK, again.status, again.err)
	text, err = os.ReadFile(out)
	require.NoError(t, err)
	assert.Equal(t, 30, strings.Count(string(text), `"status":"ok"`))
}

func TestRunWaitsForLateServer(t *testing.T) {
	target, err := url.Parse(refusingServer(t, 1000, 0, ""))
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: target.Host})
	var asked atomic.Int64
	late := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) <= 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	defer late.Close()
	target.Host = late.Listener.Addr().String()
	got := coordinate(t, nil, "", "run", specOf(t, 1, ""), "--backend", target.String(), "--out", filepath.Join(t.TempDir(), "r.jsonl"), "--wait-for-server", "1m")
	assert.Equal(t, terminal.ExitOK, got.status, got.err)
	assert.Equal(t, 1, strings.Count(got.err, "waiting up to 1m"), got.err)

	asked.Store(0)
	got = coordinate(t, nil, "", "run", specOf(t, 1, ""), "--backend", target.String(), "--out", filepath.Join(t.TempDir(), "r.jsonl"))
	assert.Equal(t, terminal.ExitUnreachable, got.status, "no wait was requested")
}

func TestResumeRerunsFailuresOfOutage(t *testing.T) {
	out := filepath.Join(t.TempDir(), "r.jsonl")
	spec := specOf(t, 4, "")
	line := func(i int, e string) string {
		return fmt.Sprintf(`{"batch":"b_01jd0000000000000000000000","job_id":"job-%d","index":%d,"status":"failed","output":null,"error":%s,"attempts":1,"turns":0,"usage":{},"tools":{},"model":"m","worker":"w","wall_ms":1}`+"\n", i, i, e)
	}
	require.NoError(t, os.WriteFile(out, []byte(
		line(0, `{"type":"BackendUnavailable","message":"the model call failed","retryable":true}`)+
			line(1, `{"type":"BackendRejected","message":"auth (HTTP 401)","retryable":false}`)+
			line(2, `{"type":"BackendRejected","message":"invalid_request (HTTP 400): content policy","retryable":false,"request_at_fault":true}`)+
			line(3, `{"type":"OutputInvalid","message":"no","retryable":false}`)), 0o600))
	got := coordinate(t, nil, "", "run", spec, "--backend", refusingServer(t, 1000, 0, ""), "--out", out, "--resume")
	assert.Contains(t, []int{terminal.ExitOK, terminal.ExitJobsFailed}, got.status, got.err)
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	for _, i := range []int{0, 1} {
		assert.Regexp(t, fmt.Sprintf(`"job_id":"job-%d","index":%d,"status":"ok"`, i, i), string(text))
	}
}

package sglang

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/backendtest"
	"github.com/batchagent/batchagent/pkg/vllmsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	_ backend.Backend       = (*Backend)(nil)
	_ backend.TokenCounter  = (*Backend)(nil)
	_ backend.LoadReporter  = (*Backend)(nil)
	_ backend.SessionCloser = (*Backend)(nil)
)

const chatRoute = "POST /v1/chat/completions"

func env(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func open(t *testing.T, addr string) *Backend {
	t.Helper()
	b, err := New(Config{URL: "sglang://" + addr, Getenv: env(nil)})
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	return b
}

func recording(t *testing.T, name string) backendtest.Reply {
	t.Helper()
	return backendtest.Reply{Bytes: backendtest.Recording(t, "sglang-0.5.23/"+name)}
}

// routes are the recorded routes of a real server. Tests can add or replace routes by recordings' names.
func routes(t *testing.T, more map[string]string) map[string]backendtest.Reply {
	t.Helper()
	out := map[string]backendtest.Reply{
		"GET /v1/models":      recording(t, "base/models"),
		"GET /server_info":    recording(t, "base/server-info"),
		"GET /ready":          recording(t, "base/ready"),
		"POST /abort_request": recording(t, "base/abort-request-unknown-rid"),
		chatRoute:             recording(t, "base/chat-stream"),
	}
	for route, name := range more {
		out[route] = recording(t, name)
	}
	return out
}

// replayed opens a backend on a server that answers chat requests with one recording.
func replayed(t *testing.T, name string) (*Backend, *backendtest.Server) {
	t.Helper()
	server := backendtest.ReplayRoutes(t, routes(t, map[string]string{chatRoute: name}))
	return open(t, server.Addr), server
}

func ask() *backend.Request {
	return &backend.Request{ID: "b_1/job-3#2", Model: "smollm2-135m", Messages: []backend.Message{{Role: backend.RoleUser, Content: "hello"}}}
}

// sent returns the body of the n-th chat request.
func sent(t *testing.T, server *backendtest.Server, n int) map[string]any {
	t.Helper()
	requests := server.Asked(chatRoute)
	require.Greater(t, len(requests), n)
	var body map[string]any
	require.NoError(t, json.Unmarshal(requests[n].Content, &body))
	return body
}

func TestConformanceOnTheSimulator(t *testing.T) {
	backendtest.Run(t, backendtest.Features{Tools: true, Forced: true, Images: true, Schema: true, Tokenizer: true}, func(t *testing.T) backendtest.Target {
		sim, err := vllmsim.New(vllmsim.Config{TokenMS: 0.1})
		require.NoError(t, err)
		server := httptest.NewServer(strict(sim))
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

func TestOddModels(t *testing.T) {
	backendtest.RunOdd(t, func(t *testing.T, addr string) backend.Backend { return open(t, addr) })
}

// strict refuses the requests that SGLang refuses and vLLM accepts.
func strict(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/chat/completions" {
			var body struct {
				RID      string   `json:"rid"`
				Priority *int     `json:"priority"`
				TopP     *float64 `json:"top_p"`
				Parallel *json.RawMessage
				Messages []struct {
					ToolCalls []struct {
						Function struct{ Arguments string }
					} `json:"tool_calls"`
				}
			}
			raw, _ := io.ReadAll(r.Body)
			bad := json.Unmarshal(raw, &body) != nil || body.RID == "" || body.Priority == nil || body.TopP != nil && *body.TopP == 0
			for _, m := range body.Messages {
				for _, c := range m.ToolCalls {
					bad = bad || !json.Valid([]byte(c.Function.Arguments))
				}
			}
			if bad {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(raw))
		}
		next.ServeHTTP(w, r)
	})
}

func TestRefusedPrioritiesAreOmitted(t *testing.T) {
	for _, refusal := range []string{"fault/priority-refused-stream", "fault/priority-refused"} {
		server := backendtest.ReplayRoutes(t, routes(t, map[string]string{chatRoute: refusal}))
		var log bytes.Buffer
		b, err := New(Config{URL: "sglang://" + server.Addr, Getenv: env(nil), Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(t, err)
		for range 3 {
			_, err = b.Generate(t.Context(), ask(), backend.Observer{})
			assert.Equal(t, backend.Transient, backend.ClassOf(err), "the turn is repeated")
		}
		require.NoError(t, b.Close())
		assert.Contains(t, sent(t, server, 0), "priority")
		assert.NotContains(t, sent(t, server, 1), "priority")
		assert.Equal(t, 1, strings.Count(log.String(), "--enable-priority-scheduling"), log.String())
	}
}

func TestEveryCallHasItsOwnRequestID(t *testing.T) {
	b, server := replayed(t, "base/chat-stream")
	ids := map[any]bool{}
	for i := range 3 {
		r := ask()
		_, err := b.Generate(t.Context(), r, backend.Observer{})
		require.NoError(t, err)
		body := sent(t, server, i)
		assert.Regexp(t, `^b_1/job-3#2-[0-9a-z]+$`, body["rid"])
		assert.NotContains(t, body, "request_id")
		ids[body["rid"]] = true
		assert.Equal(t, "b_1/job-3#2", r.ID, "the request is not changed")
	}
	assert.Len(t, ids, 3)
}

func TestModelIsCheckedByTheAdapter(t *testing.T) {
	b, server := replayed(t, "base/chat-stream")
	r := ask()
	r.Model = "gpt-4o"
	_, err := b.Generate(t.Context(), r, backend.Observer{})
	require.Equal(t, backend.UnknownModel, backend.ClassOf(err))
	assert.ErrorContains(t, err, `"gpt-4o"`)
	assert.ErrorContains(t, err, "smollm2-135m")
	assert.Empty(t, server.Asked(chatRoute))

	for _, name := range []string{"smollm2-135m", "smollm2-135m:adapter", ""} {
		r.Model = name
		_, err = b.Generate(t.Context(), r, backend.Observer{})
		require.NoError(t, err, name)
	}
	assert.Equal(t, "smollm2-135m:adapter", sent(t, server, 1)["model"])
	assert.Equal(t, "smollm2-135m", sent(t, server, 2)["model"])
	assert.LessOrEqual(t, len(server.Asked("GET /v1/models")), 2, "the list is remembered")
}

func TestModelsAreListedAgainAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		model, asked, down := "old", 0, false
		b, err := New(Config{URL: "sglang://server.test", Getenv: env(nil), Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			switch {
			case down:
				return nil, errors.New("connection refused")
			case r.URL.Path == "/v1/models":
				asked++
				return answer(r, "application/json", `{"data":[{"id":"`+model+`"}]}`), nil
			case r.URL.Path == "/v1/chat/completions":
				return answer(r, "text/event-stream", `data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}`+"\n\ndata: [DONE]\n\n"), nil
			}
			return answer(r, "application/json", `{}`), nil
		})})
		require.NoError(t, err)
		defer b.Close()
		call := func() backend.Class {
			r := ask()
			r.Model = "old"
			_, err := b.Generate(t.Context(), r, backend.Observer{})
			return backend.ClassOf(err)
		}
		assert.Empty(t, call())
		assert.Empty(t, call())
		assert.Equal(t, 1, asked)
		down = true
		assert.Equal(t, backend.Transient, call())
		down, model = false, "new"
		assert.Equal(t, backend.UnknownModel, call(), "the failure made the list stale")
		model = "old"
		assert.Empty(t, call())
		model = "new"
		assert.Empty(t, call(), "the adapter does not know of the restart yet")
		time.Sleep(listLife)
		assert.Equal(t, backend.UnknownModel, call(), "the list is old")
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(r *http.Request, kind, body string) *http.Response {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}
}

func TestHistoryIsRepairedBeforeItIsSent(t *testing.T) {
	b, server := replayed(t, "base/tool-result-turn-stream")
	r := ask()
	r.Messages = append(r.Messages,
		backend.Message{Role: backend.RoleAssistant, ToolCalls: []backend.ToolCall{{ID: "a", Name: "f", Arguments: `{"city": Rome}}`}}},
		backend.Message{Role: backend.RoleTool, ToolCallID: "a"})
	_, err := b.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	messages := sent(t, server, 0)["messages"].([]any)
	call := messages[1].(map[string]any)["tool_calls"].([]any)[0].(map[string]any)["function"].(map[string]any)
	assert.JSONEq(t, `{"not_json":"{\"city\": Rome}}"}`, call["arguments"].(string))
	assert.Equal(t, `{"city": Rome}}`, r.Messages[1].ToolCalls[0].Arguments, "the request is not changed")

	_, err = b.CountTokens(t.Context(), r)
	assert.Error(t, err, "this recording has no tokenizer")
	assert.Contains(t, string(server.Asked("POST /tokenize")[0].Content), "not_json", "the counted prompt equals the sent prompt")
}

func TestRefusedFieldsAreNotSent(t *testing.T) {
	b, server := replayed(t, "base/chat-stream")
	zero := 0.0
	r := ask()
	r.Sampling.TopP = &zero
	r.Tools = []backend.Tool{{Name: "f", Parameters: []byte(`{"type":"object"}`)}}
	r.Schema = &backend.Schema{Name: "s", JSON: []byte(`{}`)}
	_, err := b.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	body := sent(t, server, 0)
	assert.Equal(t, leastTopP, body["top_p"])
	assert.NotContains(t, body, "parallel_tool_calls")
	assert.NotContains(t, body, "response_format", "never together with tools that may be called")
	assert.Zero(t, *r.Sampling.TopP)
}

func TestAnswerIsClampedToTheWindow(t *testing.T) {
	turns := 0
	models := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := map[string]string{"/v1/models": "base/models", "/server_info": "base/server-info"}[r.URL.Path]
		if name == "" {
			name = []string{"base/err-prompt-plus-max-tokens-stream", "base/chat-stream-length"}[min(turns, 1)]
			turns++
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if assert.NoError(t, err) {
			_, _ = conn.Write(backendtest.Recording(t, "sglang-0.5.23/"+name))
			conn.Close()
		}
	}))
	defer models.Close()
	r := ask()
	r.Sampling.MaxTokens = 4090
	resp, err := open(t, models.Listener.Addr().String()).Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	assert.Equal(t, backend.FinishLength, resp.Finish)
	assert.Equal(t, 2, turns)
}

func TestCancelledCallIsAborted(t *testing.T) {
	rids, aborted := make(chan string, 1), make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ RID string }
		switch r.URL.Path {
		case "/v1/models":
			_, _ = io.WriteString(w, `{"data":[{"id":"smollm2-135m"}]}`)
		case "/v1/chat/completions":
			assert.NoError(t, json.NewDecoder(r.Body).Decode(&body))
			rids <- body.RID
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, `data: {"choices":[{"index":0,"delta":{"content":"{"}}]}`+"\n\n")
			assert.NoError(t, http.NewResponseController(w).Flush())
			<-r.Context().Done()
		case "/abort_request":
			assert.NoError(t, json.NewDecoder(r.Body).Decode(&body))
			aborted <- body.RID
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	b := open(t, server.Listener.Addr().String())

	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("lease lost")
	_, err := b.Generate(ctx, ask(), backend.Observer{FirstToken: func() { cancel(reason) }})
	require.ErrorIs(t, err, reason)
	assert.Equal(t, <-rids, <-aborted)

	r := ask()
	r.SilenceTimeout = 20 * time.Millisecond
	_, err = b.Generate(t.Context(), r, backend.Observer{})
	require.Equal(t, backend.Transient, backend.ClassOf(err), "%v", err)
	assert.Equal(t, <-rids, <-aborted, "a silent call is aborted too")
}

func TestAbortsAreLimitedAndClosed(t *testing.T) {
	a := background{limit: maxAborts}
	hold, ran := make(chan struct{}), make(chan struct{}, 2*maxAborts)
	for range 2 * maxAborts {
		a.start(func() { ran <- struct{}{}; <-hold })
	}
	for range maxAborts {
		<-ran
	}
	close(hold)
	a.close()
	assert.Empty(t, ran)
	a.start(func() { t.Error("started after close") })
	a.close()
}

func TestReadyUsesTheCheapRoute(t *testing.T) {
	b, server := replayed(t, "base/chat-stream")
	require.NoError(t, b.Ready(t.Context()))
	require.Len(t, server.Requests(), 1)
	assert.Equal(t, "/ready", server.Requests()[0].URL.Path, "/health would generate a token")

	rust := backendtest.ReplayRoutes(t, routes(t, map[string]string{"GET /ready": "rust/ready", "GET /v1/models": "rust/models"}))
	require.NoError(t, open(t, rust.Addr).Ready(t.Context()), "the Rust front end lacks the route")

	dead := backendtest.ReplayRoutes(t, routes(t, map[string]string{"GET /ready": "shutdown/sigterm-health-0"}))
	assert.Equal(t, backend.Overloaded, backend.ClassOf(open(t, dead.Addr).Ready(t.Context())))
}

func TestWindowIsTheTruePromptLimit(t *testing.T) {
	for folder, want := range map[string]int{"base": 4090, "pool": 1494, "rust": 4090} {
		server := backendtest.ReplayRoutes(t, routes(t, map[string]string{"GET /v1/models": folder + "/models", "GET /server_info": folder + "/server-info"}))
		models, err := open(t, server.Addr).Models(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []backend.Model{{ID: "smollm2-135m", MaxModelLen: want}}, models)
	}
	server := backendtest.ReplayRoutes(t, routes(t, map[string]string{"GET /server_info": "guard/server-info-without-key"}))
	models, err := open(t, server.Addr).Models(t.Context())
	require.NoError(t, err, "the settings are optional")
	assert.Equal(t, 4096, models[0].MaxModelLen)
}

func TestSettingsAreNeverLogged(t *testing.T) {
	const secret = "sk-admin-hunter2"
	for _, page := range []string{
		`{"api_key":"` + secret + `","admin_api_key":"` + secret + `","max_req_input_len":10,"max_total_num_tokens":20}`,
		`{"api_key":"` + secret + `","max_req_input_len":"ten"}`, // unreadable
		`{"api_key":"` + secret,
	} {
		all := routes(t, map[string]string{"GET /metrics": "base/metrics-idle"})
		all["GET /server_info"] = backendtest.Reply{Bytes: []byte("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + page)}
		server := backendtest.ReplayRoutes(t, all)
		var log bytes.Buffer
		b, err := New(Config{URL: "sglang://" + server.Addr, Getenv: env(nil), Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
		require.NoError(t, err)
		models, err := b.Models(t.Context())
		require.NoError(t, err)
		_, err = b.Load(t.Context())
		require.NoError(t, err)
		_, err = b.Generate(t.Context(), ask(), backend.Observer{})
		require.NoError(t, err)
		require.NoError(t, b.Close())
		kept, err := json.Marshal(map[string]any{"models": models, "settings": b.settings.Load()})
		require.NoError(t, err)
		assert.NotContains(t, log.String()+string(kept), secret)
	}
}

func TestTokensOfMessagesAndToolsAreCounted(t *testing.T) {
	for name, want := range map[string]int{"base/tokenize-tools": 178, "base/tokenize-too-long": 7024, "pool/tokenize-over-pool": 0} {
		server := backendtest.ReplayRoutes(t, routes(t, map[string]string{"POST /tokenize": name}))
		n, err := open(t, server.Addr).CountTokens(t.Context(), ask())
		require.NoError(t, err, name)
		if want > 0 {
			assert.Equal(t, want, n, name)
		}
		assert.Positive(t, n)
	}
}

func TestKeyComesFromTheEnvironment(t *testing.T) {
	for want, vars := range map[string]map[string]string{
		"Bearer first":  {"BATCHAGENT_API_KEY": " first\n", "SGLANG_API_KEY": "second"},
		"Bearer second": {"SGLANG_API_KEY": "second", "OPENAI_API_KEY": "paid", "VLLM_API_KEY": "other"},
		"":              {"OPENAI_API_KEY": "paid"},
	} {
		server := backendtest.ReplayRoutes(t, routes(t, nil))
		b, err := New(Config{URL: "sglang://" + server.Addr, Getenv: env(vars)})
		require.NoError(t, err)
		_, err = b.Generate(t.Context(), ask(), backend.Observer{})
		require.NoError(t, err)
		require.NoError(t, b.Close())
		for _, r := range server.Requests() {
			assert.Equal(t, want, r.Header.Get("Authorization"), r.URL.Path)
		}
	}
	_, err := New(Config{URL: "sglang://user:hunter2@host", Getenv: env(nil)})
	require.ErrorContains(t, err, "SGLANG_API_KEY")
	assert.NotContains(t, err.Error(), "hunter2")
}

func TestReasoningIsSentBack(t *testing.T) {
	backendtest.RunChatReasoning(t, reasoningField, func(t *testing.T, addr string) backend.Backend { return open(t, addr) })
}

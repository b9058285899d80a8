package openaichat

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/backendtest"
)

// These tests replay traffic of real servers. Their names state the rules derived from the recordings.

func readBody(t testing.TB, recording []byte) []byte {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(recording)), nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if !errors.Is(err, io.ErrUnexpectedEOF) { // a killed server
		require.NoError(t, err)
	}
	return b
}

func TestTextTurn(t *testing.T) {
	t.Parallel()
	resp, o := mustReplay(t, "vllm-0.32/chat-stream")
	assert.Equal(t, "The capital of France is Paris.", resp.Message.Content)
	assert.Equal(t, backend.RoleAssistant, resp.Message.Role)
	assert.Equal(t, backend.FinishStop, resp.Finish)
	assert.Equal(t, "smollm2-135m", resp.Model)
	assert.Equal(t, 1, o.firstTokens)
	assert.Positive(t, resp.TTFT)
	assert.LessOrEqual(t, resp.TTFT, resp.Duration)
}

func TestWhitespaceRunawayIsCutAsDegenerate(t *testing.T) {
	t.Parallel()
	r := ask()
	r.Schema = &backend.Schema{Name: "review", JSON: []byte(`{"type":"object"}`)}
	_, _, err := replay(t, "vllm-0.32/json-schema-stream", r)
	require.Equal(t, backend.Degenerate, backend.ClassOf(err), "%v", err)
	var e *backend.Error
	require.ErrorAs(t, err, &e)
	assert.NotEmpty(t, e.Partial)
	assert.Less(t, len(e.Partial), 100, "the whitespace is not kept")

	_, _, err = replay(t, "vllm-0.32/json-schema-stream", ask())
	require.NoError(t, err, "free text may hold any whitespace")
}

func TestShortWhitespaceInJSONIsAllowed(t *testing.T) {
	t.Parallel()
	r := ask()
	r.Schema = &backend.Schema{Name: "review", JSON: []byte(`{"type":"object"}`)}
	for name, finish := range map[string]backend.FinishReason{
		"vllm-0.32/json-schema-length-stream":  backend.FinishLength,
		"vllm-0.32/json-schema-compact-stream": backend.FinishStop,
	} {
		resp, _, err := replay(t, name, r)
		require.NoError(t, err, name)
		assert.Equal(t, finish, resp.Finish, name)
	}
}

func TestCallIsReportedWhenItsArgumentsClose(t *testing.T) {
	t.Parallel()
	resp, o := mustReplay(t, "vllm-0.32/tools-auto-call-stream")
	assert.Equal(t, backend.FinishToolCalls, resp.Finish)
	require.Len(t, resp.Message.ToolCalls, 1)
	c := resp.Message.ToolCalls[0]
	assert.Equal(t, "get_weather", c.Name)
	assert.JSONEq(t, `{"city":"Rome","unit":"celsius"}`, c.Arguments)
	assert.Contains(t, c.ID, "chatcmpl-tool-")
	assert.Equal(t, resp.Message.ToolCalls, o.calls)
	assert.Equal(t, 1, o.firstTokens, "a call's first piece is a first token")
}

func TestTwoCallsAreReportedInOrder(t *testing.T) {
	t.Parallel()
	resp, o := mustReplay(t, "vllm-0.32/tools-auto-two-calls-stream")
	require.Len(t, resp.Message.ToolCalls, 2)
	assert.Equal(t, "get_weather", resp.Message.ToolCalls[0].Name)
	assert.Equal(t, "read_file", resp.Message.ToolCalls[1].Name)
	assert.JSONEq(t, `{"path":"notes.txt"}`, resp.Message.ToolCalls[1].Arguments)
	assert.Equal(t, resp.Message.ToolCalls, o.calls)
	assert.Equal(t, []int{0, 1}, o.indexes)
}

func TestTextBeforeACallIsKept(t *testing.T) {
	t.Parallel()
	resp, _ := mustReplay(t, "vllm-0.32/tools-auto-text-then-call-stream")
	assert.Equal(t, backend.FinishToolCalls, resp.Finish)
	assert.NotEmpty(t, resp.Message.Content)
	assert.Len(t, resp.Message.ToolCalls, 1)
}

func TestMalformedArgumentsAreReportedOnlyAtTheEnd(t *testing.T) {
	t.Parallel()
	resp, o := mustReplay(t, "vllm-0.32/tools-auto-malformed-call-stream")
	assert.Equal(t, backend.FinishToolCalls, resp.Finish)
	require.Len(t, resp.Message.ToolCalls, 1)
	assert.Equal(t, `{"city": Rome}}`, resp.Message.ToolCalls[0].Arguments)
	assert.Equal(t, resp.Message.ToolCalls, o.calls)
}

func TestUnknownToolIsPassedOn(t *testing.T) {
	t.Parallel()
	resp, _ := mustReplay(t, "vllm-0.32/tools-auto-unknown-tool-stream")
	require.Len(t, resp.Message.ToolCalls, 1)
	assert.Equal(t, "get_weather", resp.Message.ToolCalls[0].Name, "only read_file was offered")
}

func TestCallCutByLengthIsFinishLength(t *testing.T) {
	t.Parallel()
	cases := []struct {
		recording string
		calls     int // only kept as information
		reported  int // complete before the cut
	}{
		{"vllm-0.32/tools-auto-call-cut-by-length-stream", 1, 0}, // a name without arguments
		{"vllm-0.32/tools-named-length-stream", 0, 0},            // an empty turn
		{"vllm-0.32/tools-required-two-stream", 1, 0},
	}
	for _, c := range cases {
		resp, o := mustReplay(t, c.recording)
		assert.Equal(t, backend.FinishLength, resp.Finish, c.recording)
		assert.Len(t, resp.Message.ToolCalls, c.calls, c.recording)
		assert.Len(t, o.calls, c.reported, c.recording)
	}
}

func TestNamedCallEndingWithStopIsToolCalls(t *testing.T) {
	t.Parallel()
	assert.Contains(t, string(body(t, "vllm-0.32/tools-named-stream")), `"finish_reason":"stop"`)
	resp, o := mustReplay(t, "vllm-0.32/tools-named-stream")
	assert.Equal(t, backend.FinishToolCalls, resp.Finish)
	assert.Len(t, resp.Message.ToolCalls, 1)
	assert.Equal(t, resp.Message.ToolCalls, o.calls)
}

func TestNullDeltasOfADroppedCallAreSkipped(t *testing.T) {
	t.Parallel()
	resp, o := mustReplay(t, "vllm-0.32/tools-auto-parallel-false-stream")
	assert.Equal(t, backend.FinishToolCalls, resp.Finish)
	assert.Empty(t, resp.Message.Content)
	require.Len(t, resp.Message.ToolCalls, 1)
	assert.JSONEq(t, `{"city":"Rome","unit":"celsius"}`, resp.Message.ToolCalls[0].Arguments)
	assert.Len(t, o.calls, 1)
}

func TestRoleDeltaIsNotTheFirstToken(t *testing.T) {
	t.Parallel()
	resp, o := mustReplay(t, "vllm-0.32/tools-named-length-stream")
	assert.Zero(t, o.firstTokens)
	assert.Zero(t, resp.TTFT)
}

func TestFinishReasonOnTheLastContentDelta(t *testing.T) {
	t.Parallel()
	resp, _ := mustReplay(t, "vllm-0.32/chat-stream-length")
	assert.Equal(t, backend.FinishLength, resp.Finish)
	assert.NotEmpty(t, resp.Message.Content)
}

func TestCachedTokensComeFromUsage(t *testing.T) {
	t.Parallel()
	resp, _ := mustReplay(t, "vllm-0.32/chat-cached-warm-stream")
	assert.Positive(t, resp.Usage.CachedTokens)
	assert.Zero(t, resp.Usage.CachedTokens%128, "whole blocks")
	assert.Less(t, resp.Usage.CachedTokens, resp.Usage.PromptTokens)
	assert.Positive(t, resp.Usage.CompletionTokens)
}

func TestCompleteTurnWithoutUsageCounts(t *testing.T) {
	t.Parallel()
	resp, _ := mustReplay(t, "vllm-0.32/chat-stream-no-usage")
	assert.Equal(t, backend.Usage{CachedTokens: -1}, resp.Usage)
	assert.NotEmpty(t, resp.Message.Content)
}

func TestContinuousUsageTakesTheLast(t *testing.T) {
	t.Parallel()
	resp, _ := mustReplay(t, "vllm-0.32/chat-stream-continuous-usage")
	plain, _ := mustReplay(t, "vllm-0.32/chat-stream")
	assert.Equal(t, plain.Usage.PromptTokens, resp.Usage.PromptTokens)
	assert.Equal(t, plain.Usage.CompletionTokens, resp.Usage.CompletionTokens)
}

func TestPerRequestMetricsAreIgnored(t *testing.T) {
	t.Parallel()
	resp, _ := mustReplay(t, "vllm-0.32-guarded/chat-per-request-metrics-stream")
	assert.NotEmpty(t, resp.Message.Content)
	assert.Positive(t, resp.Usage.PromptTokens)
}

func TestKeepAliveIsNotAnEvent(t *testing.T) {
	t.Parallel()
	resp, o := mustReplay(t, "vllm-0.32-guarded/chat-stream-queued-keepalive")
	assert.Equal(t, 1, o.firstTokens)
	assert.NotEmpty(t, resp.Message.Content)
}

func TestReasoningCutByLengthIsAnEmptyAnswer(t *testing.T) {
	t.Parallel()
	resp, o := mustReplay(t, "vllm-0.32-guarded/reasoning-cut-by-length-stream")
	assert.Equal(t, backend.FinishLength, resp.Finish)
	assert.Empty(t, resp.Message.Content)
	assert.NotEmpty(t, resp.Message.ReasoningText())
	assert.Equal(t, 1, o.firstTokens, "reasoning is a first token")
}

func TestAbandonedStreamIsTransient(t *testing.T) {
	t.Parallel()
	_, _, err := replay(t, "vllm-0.32-guarded/chat-stream-abandoned", ask())
	assert.Equal(t, backend.Transient, backend.ClassOf(err), "%v", err)
}

func TestUnicodeSplitAcrossWritesIsWhole(t *testing.T) {
	t.Parallel()
	recording := backendtest.Recording(t, "vllm-0.32/unicode-stream")
	whole, _ := mustReplay(t, "vllm-0.32/unicode-stream")
	assert.Regexp(t, `[^\x00-\x7f]`, whole.Message.Content)
	for _, split := range []int{1, 2, 3, 7} {
		server := backendtest.Replay(t, backendtest.Reply{Bytes: recording, Split: split})
		resp, err := client(t, server.Addr).Generate(t.Context(), ask(), backend.Observer{})
		require.NoError(t, err)
		assert.Equal(t, timeless(whole), timeless(resp), "in pieces of %d bytes", split)
	}
}

// A cut stream is never a short answer: at any byte, the call fails or the turn is the same.
func TestCutStreamIsAnErrorOrTheSameTurn(t *testing.T) {
	t.Parallel()
	cases := []struct {
		recording string
		step      int
	}{
		{"vllm-0.32/chat-stream", 1},
		{"vllm-0.32/tools-named-length-stream", 1},
		{"vllm-0.32/chat-stream-length", 31},
		{"vllm-0.32/unicode-stream", 31},
		{"vllm-0.32/tools-auto-two-calls-stream", 61},
		{"vllm-0.32/tools-auto-malformed-call-stream", 31},
		{"vllm-0.32-guarded/chat-stream-queued-keepalive", 31},
		{"vllm-0.32-guarded/reasoning-cut-by-length-stream", 31},
	}
	for _, c := range cases {
		t.Run(c.recording, func(t *testing.T) {
			t.Parallel()
			recording := backendtest.Recording(t, c.recording)
			whole, _ := mustReplay(t, c.recording)
			var replies []backendtest.Reply
			for cut := 1; cut < len(recording); cut += c.step {
				replies = append(replies, backendtest.Reply{Bytes: recording, Cut: cut})
			}
			server := backendtest.Replay(t, replies...)
			cl := client(t, server.Addr)
			same := 0
			for _, r := range replies {
				resp, err := cl.Generate(t.Context(), ask(), backend.Observer{})
				if err != nil {
					assert.Equal(t, backend.Transient, backend.ClassOf(err), "cut at %d: %v", r.Cut, err)
					continue
				}
				same++
				if resp.Usage.PromptTokens == 0 { // the cut is between the finish reason and the usage
					resp.Usage = whole.Usage
				}
				assert.Equal(t, timeless(whole), timeless(resp), "cut at %d", r.Cut)
			}
			assert.Less(t, same, len(replies)/2+1)
		})
	}
}

// timeless returns a response without its times.
func timeless(r *backend.Response) backend.Response {
	c := *r
	c.TTFT, c.Duration = 0, 0
	return c
}

func TestRecordedErrorsHaveTheirClass(t *testing.T) {
	t.Parallel()
	classes := map[string]backend.Class{
		"vllm-0.32/err-too-long":                      backend.ContextTooLong,
		"vllm-0.32/err-too-long-stream":               backend.ContextTooLong,
		"vllm-0.32/err-unknown-model":                 backend.UnknownModel,
		"vllm-0.32-guarded/err-bad-key":               backend.Auth,
		"vllm-0.32-guarded/err-no-key":                backend.Auth,
		"vllm-0.32-guarded/err-queue-full-stream":     backend.Overloaded,
		"vllm-0.32/err-prompt-plus-max-tokens":        backend.InvalidRequest, // only max_tokens is too large
		"vllm-0.32/err-not-found":                     backend.Transient,
		"vllm-0.32/err-method":                        backend.InvalidRequest,
		"vllm-0.32/err-stream-options-without-stream": backend.InvalidRequest,
	}
	names := append(backendtest.Recordings(t, "vllm-0.32/err-*"), backendtest.Recordings(t, "vllm-0.32-guarded/err-*")...)
	for _, name := range names {
		want, ok := classes[name]
		if !ok {
			want = backend.InvalidRequest
		}
		_, _, err := replay(t, name, ask())
		var e *backend.Error
		require.ErrorAs(t, err, &e, name)
		assert.Equal(t, want, e.Class, name)
		assert.NotZero(t, e.Status, name)
		assert.NotEmpty(t, e.Message, name)
		assert.Contains(t, e.Endpoint, "http://127.0.0.1:", name)
		assert.Zero(t, e.RetryAfter, name)
		assert.NotContains(t, e.Message, "'input'", name)
	}
}

func TestUnstreamedAnswerCounts(t *testing.T) {
	t.Parallel()
	resp, o, err := replay(t, "vllm-0.32/chat", ask())
	require.NoError(t, err)
	assert.NotEmpty(t, resp.Message.Content)
	assert.Positive(t, resp.Usage.PromptTokens)
	assert.Equal(t, 1, o.firstTokens)
}

func TestModelsHaveTheirWindow(t *testing.T) {
	t.Parallel()
	server := backendtest.Replay(t, backendtest.Reply{Bytes: backendtest.Recording(t, "vllm-0.32/models")})
	models, err := client(t, server.Addr).Models(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []backend.Model{{ID: "smollm2-135m", MaxModelLen: 4096}}, models)
	assert.Equal(t, "/v1/models", server.Requests()[0].URL.Path)
}

func TestFirstModelIsRequestedOnce(t *testing.T) {
	t.Parallel()
	stream := backendtest.Reply{Bytes: backendtest.Recording(t, "vllm-0.32/chat-stream")}
	server := backendtest.Replay(t, backendtest.Reply{Bytes: backendtest.Recording(t, "vllm-0.32/models")}, stream)
	c, r := client(t, server.Addr), ask()
	r.Model = ""
	for range 2 {
		_, err := c.Generate(t.Context(), r, backend.Observer{})
		require.NoError(t, err)
	}
	requests := server.Requests()
	require.Len(t, requests, 3)
	assert.Contains(t, string(requests[2].Content), `"model":"smollm2-135m"`)
	assert.Empty(t, r.Model, "the request is not changed")
}

// Every recording of any server gives a complete turn or an error with a class. No page, refusal, cut stream or foreign
// stream counts as an answer.
func TestEveryRecordingIsATurnOrAnError(t *testing.T) {
	t.Parallel()
	names := append(backendtest.Recordings(t, "*/*"), backendtest.Recordings(t, "*/*/*")...)
	turns := 0
	for _, name := range names {
		body := string(body(t, name))
		ended := regexp.MustCompile(`(?m)^(?:data: |\{.*"message":\{).*"finish_reason": ?"(stop|length|tool_calls)"`).MatchString(body)
		broken := regexp.MustCompile(`(?m)^data: ?\{"error"`).MatchString(body)
		resp, o, err := replay(t, name, ask())
		if !ended || broken {
			assert.NotEmpty(t, backend.ClassOf(err), "%s: %v", name, err)
			continue
		}
		if assert.NoError(t, err, name) {
			turns++
			assert.NotEmpty(t, resp.Finish, name)
			if resp.Finish == backend.FinishToolCalls {
				assert.Len(t, o.calls, len(resp.Message.ToolCalls), name)
			}
		}
	}
	assert.Greater(t, turns, 100)
}

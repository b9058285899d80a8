package bedrock

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/backendtest"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ backend.Backend = (*Backend)(nil)

const plantedSecret = "planted-secret-2c1"

var credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "AKIDTEST", SecretAccessKey: plantedSecret, SessionToken: "planted-session-77"}, nil
})

func open(t *testing.T, endpoint string) *Backend {
	t.Helper()
	b, err := New(t.Context(), Config{URL: "bedrock://eu-west-1/" + fakeModel, Endpoint: endpoint, Credentials: credentials})
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	return b
}

func openFake(t *testing.T) (*Backend, *fake) {
	t.Helper()
	f := newFake(t)
	return open(t, f.URL), f
}

func ask() *backend.Request {
	return &backend.Request{ID: "b_1/job-3#2", Messages: []backend.Message{
		{Role: backend.RoleSystem, Content: "Be brief."}, {Role: backend.RoleUser, Content: "hello"}}}
}

var weather = backend.Tool{Name: "get_weather", Description: "Weather", Strict: true,
	Parameters: []byte(`{"type":"object","properties":{"city":{"type":"string","maxLength":12345678901234567890}},"required":["city"]}`)}

func TestConformance(t *testing.T) {
	backendtest.Run(t, backendtest.Features{Tools: true, Forced: true, Images: true, Schema: true}, func(t *testing.T) backendtest.Target {
		b, _ := openFake(t)
		return backendtest.Target{Backend: b, Model: fakeModel, Dead: func() backend.Backend {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			require.NoError(t, l.Close())
			return open(t, "http://"+l.Addr().String())
		}}
	})
}

func TestURLs(t *testing.T) {
	for raw, want := range map[string][2]string{
		"bedrock://":                      {"", ""},
		"bedrock://us-gov-west-1":         {"us-gov-west-1", ""},
		"bedrock://eu-west-1/":            {"eu-west-1", ""},
		"bedrock://amazon.nova-lite-v1:0": {"", "amazon.nova-lite-v1:0"},
		"bedrock://us-east-1/anthropic.claude-3-5-sonnet-20241022-v2:0":                     {"us-east-1", "anthropic.claude-3-5-sonnet-20241022-v2:0"},
		"bedrock://us-east-1/arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.m": {"us-east-1", "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.m"},
		"bedrock://arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.m":           {"", "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.m"},
	} {
		region, model, err := parseURL(raw)
		require.NoError(t, err, raw)
		assert.Equal(t, want, [2]string{region, model}, raw)
	}
	_, _, err := parseURL("bedrock://AKID:hunter2@us-east-1/m")
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "hunter2")
}

func TestEndpointFollowsTheRegion(t *testing.T) {
	b, err := New(t.Context(), Config{URL: "bedrock://eu-west-1/m", Credentials: credentials})
	require.NoError(t, err)
	assert.Equal(t, "https://bedrock-runtime.eu-west-1.amazonaws.com", b.endpoint)
}

func TestModelMustBeNamed(t *testing.T) {
	b, err := New(t.Context(), Config{URL: "bedrock://eu-west-1", Credentials: credentials})
	require.NoError(t, err)
	_, err = b.Models(t.Context())
	require.ErrorContains(t, err, "bedrock://region/model")
	_, err = b.Generate(t.Context(), ask(), backend.Observer{})
	assert.Equal(t, backend.UnknownModel, backend.ClassOf(err))
}

func TestUsageIncludesTheCache(t *testing.T) {
	b, _ := openFake(t)
	resp, err := b.Generate(t.Context(), ask(), backend.Observer{})
	require.NoError(t, err)
	assert.Equal(t, backend.Usage{PromptTokens: 42, CachedTokens: 30, CompletionTokens: 3}, resp.Usage)
	assert.Equal(t, "It is sunny.", resp.Message.Content)
}

func TestRequestBody(t *testing.T) {
	b, f := openFake(t)
	r := ask()
	r.Tools = []backend.Tool{weather}
	r.Messages = append(r.Messages,
		backend.Message{Role: backend.RoleAssistant, ToolCalls: []backend.ToolCall{{ID: "x.1", Name: "get_weather", Arguments: `{"n":1.50}`}, {ID: "y", Name: "get_weather"}}},
		backend.Message{Role: backend.RoleTool, ToolCallID: "x.1", Content: "sunny"},
		backend.Message{Role: backend.RoleTool, ToolCallID: "y", Content: "rain"})
	zero := 0.0
	r.Sampling = backend.Sampling{Temperature: &zero, MaxTokens: 50, ExtraBody: map[string]json.RawMessage{"top_k": json.RawMessage("20")}}
	for range 3 {
		_, err := b.Generate(t.Context(), r, backend.Observer{})
		require.NoError(t, err)
	}
	assert.JSONEq(t, `{"inferenceConfig":{"maxTokens":50,"temperature":0},"additionalModelRequestFields":{"top_k":20},
		"system":[{"text":"Be brief."},{"cachePoint":{"type":"default"}}],
		"toolConfig":{"tools":[{"toolSpec":{"name":"get_weather","description":"Weather","strict":true,"inputSchema":{"json":{"type":"object",
			"properties":{"city":{"type":"string","maxLength":12345678901234567890}},"required":["city"],"additionalProperties":false}}}}]},
		"messages":[{"role":"user","content":[{"text":"hello"}]},
			{"role":"assistant","content":[{"toolUse":{"toolUseId":"x_1","name":"get_weather","input":{"n":1.50}}},{"toolUse":{"toolUseId":"y","name":"get_weather","input":{}}}]},
			{"role":"user","content":[{"toolResult":{"toolUseId":"x_1","content":[{"text":"sunny"}]}},{"toolResult":{"toolUseId":"y","content":[{"text":"rain"}]}},{"cachePoint":{"type":"default"}}]}]}`,
		f.requests()[0].raw)
	assert.Contains(t, f.requests()[0].raw, "12345678901234567890", "numbers keep their digits")
	assert.Equal(t, f.requests()[0].raw, f.requests()[2].raw, "equal requests are equal bytes")
}

func TestCachePointEndsPreloadedResults(t *testing.T) {
	b, f := openFake(t)
	r := ask()
	r.Messages[len(r.Messages)-1] = backend.Message{Role: backend.RoleUser, Content: "document question", Lead: len("document ")}
	_, err := b.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	assert.Contains(t, f.requests()[0].raw, `[{"text":"document "},{"cachePoint":{"type":"default"}},{"text":"question"}]`)
}

// Each ability that a model refuses costs one call, and later calls omit it.
func TestRefusedAbilitiesAreOmitted(t *testing.T) {
	b, f := openFake(t)
	f.noStreams, f.noCache, f.noSchemas = true, true, true
	var logged bytes.Buffer
	b.log = slog.New(slog.NewTextHandler(&logged, nil))
	r := ask()
	r.Tools = []backend.Tool{weather}
	var told []backend.ToolCall
	resp, err := b.Generate(t.Context(), r, backend.Observer{ToolCall: func(_ int, c backend.ToolCall) { told = append(told, c) }})
	require.NoError(t, err)
	assert.Equal(t, backend.FinishToolCalls, resp.Finish)
	assert.Equal(t, resp.Message.ToolCalls, told)
	assert.JSONEq(t, `{"city":"Rome","n":12345678901234567890}`, told[0].Arguments)
	assert.Equal(t, "hm", resp.Message.ReasoningText())
	assert.Equal(t, int64(-1), resp.Usage.CachedTokens)
	require.Len(t, f.requests(), 4)
	_, err = b.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	require.Len(t, f.requests(), 5)
	assert.Equal(t, "converse", f.requests()[4].path)
	assert.NotContains(t, f.requests()[4].raw, "cachePoint")
	assert.Equal(t, 3, strings.Count(logged.String(), "later calls omit it"))
}

func TestOtherFamiliesGetNoCachePoints(t *testing.T) {
	var b Backend
	assert.False(t, b.believed("meta.llama3-1-70b-instruct-v1:0").caching)
	nova := b.believed("us.amazon.nova-pro-v1:0")
	assert.True(t, nova.caching)
	assert.False(t, nova.toolCaching)
}

func TestToolCallStartsBeforeTheStreamEnds(t *testing.T) {
	b, f := openFake(t)
	f.hold = make(chan struct{})
	r := ask()
	r.Tools = []backend.Tool{weather}
	told := 0
	_, err := b.Generate(t.Context(), r, backend.Observer{ToolCall: func(int, backend.ToolCall) {
		if told == 0 {
			close(f.hold) // without early dispatch this test hangs
		}
		told++
	}})
	require.NoError(t, err)
	assert.Equal(t, 2, told)
}

func TestSilenceIsTransient(t *testing.T) {
	b, f := openFake(t)
	f.hold = make(chan struct{})
	defer close(f.hold)
	r := ask()
	r.Tools, r.SilenceTimeout = []backend.Tool{weather}, 30*time.Millisecond
	_, err := b.Generate(t.Context(), r, backend.Observer{})
	require.Equal(t, backend.Transient, backend.ClassOf(err), "%v", err)
	assert.ErrorContains(t, err, "no event for 30ms")
}

func TestOddStreams(t *testing.T) {
	start := [2]string{"messageStart", `{"role":"assistant"}`}
	text := [2]string{"contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"é😀"}}`}
	meta := [2]string{"metadata", `{"usage":{"inputTokens":1,"outputTokens":2,"totalTokens":3},"metrics":{"latencyMs":3}}`}
	stop := func(reason string) [2]string {
		return [2]string{"messageStop", fmt.Sprintf(`{"stopReason":%q}`, reason)}
	}
	exception := func(kind string) [2]string { return [2]string{kind, `{"message":"said so"}`} }
	cases := map[string]struct {
		script [][2]string
		finish backend.FinishReason
		class  backend.Class
	}{
		"plain":              {script: [][2]string{start, text, stop("end_turn"), meta}, finish: backend.FinishStop},
		"empty":              {script: [][2]string{start, stop("end_turn"), meta}, finish: backend.FinishStop},
		"no metadata":        {script: [][2]string{start, text, stop("end_turn")}, finish: backend.FinishStop},
		"no stop reason":     {script: [][2]string{start, text, meta}, class: backend.Transient},
		"nothing":            {script: [][2]string{}, class: backend.Transient},
		"length":             {script: [][2]string{start, text, stop("max_tokens"), meta}, finish: backend.FinishLength},
		"stop sequence":      {script: [][2]string{start, text, stop("stop_sequence"), meta}, finish: backend.FinishStop},
		"guardrail":          {script: [][2]string{start, text, stop("guardrail_intervened"), meta}, finish: backend.FinishRefused},
		"filtered":           {script: [][2]string{start, text, stop("content_filtered"), meta}, finish: backend.FinishRefused},
		"window":             {script: [][2]string{start, text, stop("model_context_window_exceeded"), meta}, class: backend.ContextTooLong},
		"malformed tool use": {script: [][2]string{start, text, stop("malformed_tool_use"), meta}, class: backend.Transient},
		"malformed output":   {script: [][2]string{start, text, stop("malformed_model_output"), meta}, class: backend.Transient},
		"withheld calls":     {script: [][2]string{start, text, stop("tool_use"), meta}, finish: backend.FinishStop},
		"unknown event":      {script: [][2]string{start, {"hologram", `{}`}, text, stop("end_turn"), meta}, finish: backend.FinishStop},
		"throttled":          {script: [][2]string{start, text, exception("throttlingException")}, class: backend.RateLimited},
		"internal":           {script: [][2]string{start, exception("internalServerException")}, class: backend.Transient},
		"model stream error": {script: [][2]string{start, exception("modelStreamErrorException")}, class: backend.Transient},
		"unavailable":        {script: [][2]string{start, exception("serviceUnavailableException")}, class: backend.Overloaded},
		"validation":         {script: [][2]string{start, exception("validationException")}, class: backend.InvalidRequest},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b, f := openFake(t)
			f.script = c.script
			resp, err := b.Generate(t.Context(), ask(), backend.Observer{})
			if c.class != "" {
				require.Equal(t, c.class, backend.ClassOf(err), "%v", err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.finish, resp.Finish)
		})
	}
}

func TestDocumentedErrors(t *testing.T) {
	cases := []struct {
		status  int
		code    string
		message string
		want    backend.Class
	}{
		{403, "AccessDeniedException", "You don't have access to the model", backend.Auth},
		{403, "UnrecognizedClientException", "The security token included in the request is invalid.", backend.Auth},
		{403, "ExpiredTokenException", "The security token included in the request is expired", backend.Auth},
		{403, "InvalidSignatureException", "", backend.Auth},
		{400, "ConflictException", "", backend.Transient},
		{500, "InternalServerException", "", backend.Transient},
		{424, "ModelErrorException", "", backend.Transient},
		{429, "ModelNotReadyException", "", backend.Overloaded},
		{408, "ModelTimeoutException", "", backend.Transient},
		{404, "ResourceNotFoundException", "Could not resolve the foundation model", backend.UnknownModel},
		{400, "ServiceQuotaExceededException", "", backend.QuotaExhausted},
		{503, "ServiceUnavailableException", "", backend.Overloaded},
		{429, "ThrottlingException", "Too many requests, please wait before trying again.", backend.RateLimited},
		{429, "ThrottlingException", "Too many tokens per day, please wait before trying again.", backend.QuotaExhausted},
		{400, "ValidationException", "Malformed input request", backend.InvalidRequest},
		{400, "ValidationException", "Input is too long for requested model.", backend.ContextTooLong},
		{400, "ValidationException", "The provided model identifier is invalid.", backend.UnknownModel},
		{400, "ValidationException", "Invocation of model ID x with on-demand throughput isn’t supported.", backend.UnknownModel},
		{502, "", "", backend.Transient},
		{504, "", "", backend.Transient},
		{413, "", "", backend.ContextTooLong},
	}
	for _, c := range cases {
		t.Run(c.code+c.message, func(t *testing.T) {
			calls := 0
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				calls++
				w.Header().Set("Retry-After", "3")
				refuse(w, c.status, c.code, c.message)
			}))
			defer s.Close()
			_, err := open(t, s.URL).Generate(t.Context(), ask(), backend.Observer{})
			e, ok := errors.AsType[*backend.Error](err)
			require.True(t, ok, "%v", err)
			assert.Equal(t, c.want, e.Class, "%v", err)
			assert.Equal(t, c.status, e.Status)
			assert.Equal(t, 3*time.Second, e.RetryAfter)
			assert.Equal(t, 1, calls, "the SDK does not retry")
		})
	}
}

// Credentials that were removed from the environment sign requests like those in it.
func TestCredentialsFromGetenv(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want []string
	}{
		"keys": {map[string]string{"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "session"},
			[]string{"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/", "session"}},
		"bearer token": {map[string]string{"AWS_BEARER_TOKEN_BEDROCK": "bearer-token"}, []string{"Bearer bearer-token", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			var got http.Header
			s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = r.Header.Clone()
				w.WriteHeader(http.StatusForbidden)
			}))
			defer s.Close()
			b, err := New(t.Context(), Config{URL: "bedrock://eu-west-1/" + fakeModel, Endpoint: s.URL, Transport: s.Client().Transport, Getenv: func(name string) string { return c.env[name] }})
			require.NoError(t, err)
			defer b.Close()
			_, err = b.Generate(t.Context(), ask(), backend.Observer{})
			require.Error(t, err)
			assert.True(t, strings.HasPrefix(got.Get("Authorization"), c.want[0]), got.Get("Authorization"))
			assert.Equal(t, c.want[1], got.Get("X-Amz-Security-Token"))
		})
	}
}

func TestMissingCredentials(t *testing.T) {
	f := newFake(t)
	b, err := New(t.Context(), Config{URL: "bedrock://eu-west-1/" + fakeModel, Endpoint: f.URL,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{}, errors.New("no EC2 IMDS role found")
		})})
	require.NoError(t, err)
	defer b.Close()
	_, err = b.Generate(t.Context(), ask(), backend.Observer{})
	assert.Equal(t, backend.Auth, backend.ClassOf(err), "%v", err)
	err = b.Ready(t.Context())
	require.Equal(t, backend.Auth, backend.ClassOf(err), "%v", err)
	assert.ErrorContains(t, err, "AWS_PROFILE")
}

// A stream cut at any place is transient.
func TestCutStreamIsTransient(t *testing.T) {
	rec := httptest.NewRecorder()
	for _, e := range [][2]string{{"messageStart", `{"role":"assistant"}`}, {"contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"It is"}}`}, {"contentBlockStop", `{"contentBlockIndex":0}`}} {
		sendEvent(rec, e[0], e[1])
	}
	whole := rec.Body.Bytes()
	for cut := 0; cut <= len(whole); cut += 13 {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
			_, _ = w.Write(whole[:cut])
		}))
		b := open(t, s.URL)
		_, err := b.Generate(t.Context(), ask(), backend.Observer{})
		s.Close()
		require.Equal(t, backend.Transient, backend.ClassOf(err), "cut at %d: %v", cut, err)
	}
}

func TestPlantedSecretIsNeverShown(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, 403, "UnrecognizedClientException", "The security token included in the request is invalid.")
	}))
	defer s.Close()
	var logged bytes.Buffer
	b, err := New(t.Context(), Config{URL: "bedrock://eu-west-1/" + fakeModel, Endpoint: s.URL, Credentials: credentials,
		Logger: slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	require.NoError(t, err)
	defer b.Close()
	_, err = b.Generate(t.Context(), ask(), backend.Observer{})
	require.Equal(t, backend.Auth, backend.ClassOf(err))
	for e := err; e != nil; e = errors.Unwrap(e) {
		shown := fmt.Sprintf("%v %+v %#v", e, e, e)
		assert.NotContains(t, shown, "planted")
	}
	out, _ := json.Marshal(err)
	assert.NotContains(t, string(out)+logged.String(), "planted")
}

// A service or proxy may repeat a token. No part of the token appears in the error, wherever its message is cut.
func TestTokensAreRedactedBeforeMessagesAreCut(t *testing.T) {
	before := 0
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := cmp.Or(r.Header.Get("X-Amz-Security-Token"), strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		refuse(w, 403, "AccessDeniedException", strings.Repeat("x", before)+token+strings.Repeat("y", 1000))
	}))
	defer s.Close()
	for _, bearer := range []string{"", "planted-bearer-2209"} {
		t.Setenv("AWS_BEARER_TOKEN_BEDROCK", bearer)
		b, err := New(t.Context(), Config{URL: "bedrock://eu-west-1/" + fakeModel, Endpoint: s.URL, Credentials: credentials, Transport: s.Client().Transport})
		require.NoError(t, err)
		defer b.Close()
		for before = endpoint.MaxMessageBytes - 25; before <= endpoint.MaxMessageBytes; before++ {
			_, err := b.Generate(t.Context(), ask(), backend.Observer{})
			require.Error(t, err)
			require.NotContains(t, err.Error(), "plan", "offset %d", before)
			require.Contains(t, err.Error(), "xxxx")
		}
	}
}

package batchagent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent"
	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/vllmsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, testredis.Dialling()) }

type note struct {
	Summary string   `json:"summary" jsonschema:"one sentence"`
	Tags    []string `json:"tags,omitempty"`
}

// simulator starts a simulated server and stops it at the end of the test.
func simulator(t *testing.T, c vllmsim.Config) batchagent.Option {
	t.Helper()
	return batchagent.Backend(startSimulator(t, c))
}

func startSimulator(t *testing.T, c vllmsim.Config) string {
	t.Helper()
	sim, err := vllmsim.New(c)
	require.NoError(t, err)
	url, stop, err := sim.Start(context.Background(), "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, stop()) })
	return "vllm://" + strings.TrimPrefix(url, "http://")
}

func words(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("word %d", i)
	}
	return out
}

func TestRunReturnsTypedResultsInInputOrder(t *testing.T) {
	t.Parallel()
	results, err := batchagent.Run(t.Context(), batchagent.Batch[note]{
		Task: "Sum up {input}", Inputs: batchagent.Slice(words(30)),
	}, batchagent.Simulated())
	require.NoError(t, err)
	require.Len(t, results, 30)
	for i, r := range results {
		require.NoError(t, r.Err)
		assert.Equal(t, i, r.Index)
		assert.NotEmpty(t, r.Output.Summary)
		assert.Positive(t, r.Usage.PromptTokens)
		assert.Equal(t, 1, r.Turns)
	}
}

func TestRunReturnsFreeTextAsString(t *testing.T) {
	t.Parallel()
	type place struct {
		City, Land string
	}
	results, err := batchagent.Run(t.Context(), batchagent.Batch[string]{
		Task: "Say {{hello}} to {City} in {Land}: \"<&>\" ünï 🙂\n\tend", Inputs: batchagent.Slice([]place{{"Ulm", "Germany"}, {"Lyon", "France"}}),
	}, batchagent.Simulated())
	require.NoError(t, err)
	require.Len(t, results, 2)
	assert.Contains(t, results[1].Output, `Say {hello} to Lyon in France: "<&>" ünï 🙂`)
}

type at struct {
	Path string `json:"path" jsonschema:"the file's path"`
}

func TestFuncRunsOnceForEqualCalls(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	var asked sync.Map
	read := batchagent.Func("read_file", "Reads a file.", func(_ context.Context, a at) (string, error) {
		calls.Add(1)
		asked.Store(a.Path, true)
		return "The policy says yes.", nil
	})
	read.Share = batchagent.Pure
	results, err := batchagent.Run(t.Context(), batchagent.Batch[note]{
		Task: "Read policy.md, then judge {input}", Inputs: batchagent.Slice(words(20)), Tools: []batchagent.Tool{read},
	}, batchagent.Simulated())
	require.NoError(t, err)
	for _, r := range results {
		require.NoError(t, r.Err)
		assert.EqualValues(t, 1, r.Tools.Asked)
		assert.Equal(t, 2, r.Turns)
	}
	assert.EqualValues(t, 1, calls.Load(), "executions of twenty equal calls")
	_, ok := asked.Load("policy.md")
	assert.True(t, ok)
}

func TestRunReturnsFailedJobsAsResults(t *testing.T) {
	t.Parallel()
	results, err := batchagent.Run(t.Context(), batchagent.Batch[note]{
		Task: "Sum up {text}", Inputs: batchagent.Slice([]map[string]string{{"text": "a"}, {"txt": "b"}}), OnBadInput: batchagent.SkipInput,
	}, batchagent.Simulated())
	require.NoError(t, err)
	require.Len(t, results, 2)
	require.NoError(t, results[0].Err)
	var failed *batchagent.Error
	require.ErrorAs(t, results[1].Err, &failed)
	assert.EqualValues(t, "BadInput", failed.Type)
}

// Leaving the loop, a cancelled context and a panic in the loop's body each end the batch. The package's goleak check finds
// goroutines that still run.
func TestStreamEndsWithLoop(t *testing.T) {
	t.Parallel()
	slow := simulator(t, vllmsim.Config{ForwardMS: 20})
	b := batchagent.Batch[note]{Task: "Sum up {input}", Inputs: batchagent.Slice(words(500)), MaxInflight: 4}

	n := 0
	for r, err := range batchagent.Stream(t.Context(), b, slow) {
		require.NoError(t, err)
		require.NoError(t, r.Err)
		if n++; n == 3 {
			break
		}
	}
	assert.Equal(t, 3, n)

	stop := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	n = 0
	var last error
	for _, err := range batchagent.Stream(ctx, b, slow) {
		if last = err; err != nil {
			continue
		}
		if n++; n == 3 {
			cancel(stop)
		}
	}
	require.ErrorIs(t, last, stop)
	assert.Less(t, n, 500)

	assert.PanicsWithValue(t, "in the body", func() {
		for range batchagent.Stream(t.Context(), b, slow) {
			panic("in the body")
		}
	})
}

func TestInterruptedRunReturnsFinishedResults(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var looked atomic.Int64
	look := batchagent.Func("look", "Looks a word up.", func(context.Context, at) (string, error) {
		if looked.Add(1) == 20 {
			cancel()
		}
		return "a noun", nil
	})
	look.Share = batchagent.Effect
	b := batchagent.Batch[note]{Task: "Look {input} up", Inputs: batchagent.Slice(words(500)), Tools: []batchagent.Tool{look}, MaxInflight: 2}
	results, err := batchagent.Run(ctx, b, simulator(t, vllmsim.Config{ForwardMS: 20}))
	require.ErrorIs(t, err, context.Canceled)
	assert.NotEmpty(t, results)
	for _, r := range results {
		assert.NotEmpty(t, r.Output.Summary)
	}
}

func TestFileReadsInputs(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "in.csv")
	require.NoError(t, os.WriteFile(file, []byte("city\nUlm\nLyon\n"), 0o600))
	results, err := batchagent.Run(t.Context(), batchagent.Batch[string]{Task: "Where is {city}?", Inputs: batchagent.File(file)}, batchagent.Simulated())
	require.NoError(t, err)
	require.Len(t, results, 2)
	assert.Contains(t, results[1].Output, "Lyon")
}

func TestRunRefusesUnknownKeepReasoning(t *testing.T) {
	t.Parallel()
	b := batchagent.Batch[note]{Task: "Sum up {input}", Inputs: batchagent.Slice(words(1)), Agent: batchagent.Agent{KeepReasoning: batchagent.KeepNever}}
	_, err := batchagent.Run(t.Context(), b, batchagent.Simulated())
	require.NoError(t, err)
	b.Agent.KeepReasoning = "sometimes"
	_, err = batchagent.Run(t.Context(), b, batchagent.Simulated())
	assert.ErrorContains(t, err, "keep_reasoning: must be auto, always or never")
}

// Every field has a name that specs have.
func TestRunAcceptsEveryField(t *testing.T) {
	t.Parallel()
	agent := batchagent.Agent{
		Model: "sim", KeepReasoning: batchagent.KeepAlways, MaxTurns: 3, MaxRetries: new(0), MaxAttempts: 2,
		Timeouts: batchagent.Timeouts{Turn: 1500 * time.Millisecond, Tool: time.Second, Job: time.Hour},
		Prices:   batchagent.Prices{Prompt: 1, Cached: 0.5, Completion: 2},
		Sampling: batchagent.Sampling{
			Temperature: new(0.0), TopP: new(0.5), MaxTokens: 500, Seed: new(int64(7)), Stop: []string{"END"},
			ExtraBody: map[string]json.RawMessage{"top_k": json.RawMessage("40")},
		},
	}
	budget := batchagent.Budget{Tokens: 1_000_000, USD: 10}
	reducer := agent
	reducer.MaxTurns = 0
	schema := json.RawMessage(`{"type": "object", "properties": {"summary": {"type": "string"}}, "required": ["summary"]}`)
	results, err := batchagent.Run(t.Context(), batchagent.Batch[note]{
		Name: "all", System: "Be brief.", Task: "Sum up {item}", Schema: schema, Tools: []batchagent.Tool{batchagent.Named("read_file")},
		Preload:   []batchagent.Preload{{Tool: "list_files", Args: map[string]any{"glob": "*.none"}}},
		Identical: batchagent.RunEach,
		Plan: batchagent.Plan[string]{
			System: "Be quick.", Task: "Ask.", MaxItems: 50, Schema: json.RawMessage(`{"type": "string"}`), Agent: agent, Budget: budget,
			Tools: []batchagent.Tool{batchagent.Named("list_files")},
		},
		Reduce: batchagent.Reduce[note]{System: "Be short.", Task: "Join.", Schema: schema, Agent: reducer, Budget: budget},
		Agent:  agent, JobBudget: budget, BatchBudget: budget, OnBadInput: batchagent.SkipInput, Literal: true, MaxInflight: 4,
		Owner: "me", Priority: -5, TTL: 90 * time.Minute, Key: "ignored",
	}, batchagent.Simulated())
	require.NoError(t, err)
	for _, r := range results {
		require.NoError(t, r.Err)
	}
}

// grade is a type that cannot decode all values of its schema.
type grade struct {
	Score int8 `json:"score"`
}

func (g *grade) UnmarshalJSON(text []byte) error {
	var plain struct{ Score int8 }
	if err := json.Unmarshal(text, &plain); err != nil {
		return err
	}
	if plain.Score < 0 {
		panic("a score below zero")
	}
	g.Score = plain.Score
	return nil
}

// answering starts a model server and returns its backend URL. answer returns the escaped content of an answer to a request.
func answering(t *testing.T, answer func(asked string) string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/models") {
			_, _ = io.WriteString(w, `{"object":"list","data":[{"id":"m","object":"model","max_model_len":10000}]}`)
			return
		}
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintf(w, "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n", answer(string(body)))
	}))
	t.Cleanup(server.Close)
	return "vllm://" + strings.TrimPrefix(server.URL, "http://")
}

// A model answers once or always with a number outside the range of the Go type. Only its own job fails.
func TestUndecodableOutputFailsOnlyItsJob(t *testing.T) {
	t.Parallel()
	server := answering(t, func(asked string) string {
		switch {
		case strings.Contains(asked, "Grade 3"):
			return `{\"score\":700}`
		case strings.Contains(asked, "Grade 4"):
			return `{\"score\":-1}`
		case strings.Contains(asked, "Grade 5") && !strings.Contains(asked, "cannot be used"):
			return `{\"score\":500}`
		}
		return `{\"score\":7}`
	})
	results, err := batchagent.Run(t.Context(), batchagent.Batch[grade]{
		Task: "Grade {input}.", Inputs: batchagent.Slice([]int{0, 1, 2, 3, 4, 5}), Schema: json.RawMessage(`{"type":"object","properties":{"score":{"type":"integer"}},"required":["score"]}`),
	}, batchagent.Backend(server))
	require.NoError(t, err)
	require.Len(t, results, 6)
	for i, r := range results {
		if i != 3 && i != 4 {
			require.NoError(t, r.Err, i)
			assert.EqualValues(t, 7, r.Output.Score)
			continue
		}
		var failed *batchagent.Error
		require.ErrorAs(t, r.Err, &failed)
		assert.Equal(t, batch.OutputInvalid, failed.Type)
		assert.Contains(t, failed.Message, "does not decode as batchagent_test.grade")
		assert.NotEmpty(t, failed.Raw)
		assert.Equal(t, 2, r.Turns)
		assert.Zero(t, r.Output)
	}
	assert.Equal(t, 2, results[5].Turns)
}

// A run uses the optional abilities of its model server, as a worker does: it reads the load, and so keeps its agents within the KV cache.
func TestRunReadsTheLoadOfItsServer(t *testing.T) {
	t.Parallel()
	target, err := url.Parse("http://" + strings.TrimPrefix(startSimulator(t, vllmsim.Config{}), "vllm://"))
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	var readings atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			readings.Add(1)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	_, err = batchagent.Run(t.Context(), batchagent.Batch[note]{Task: "Sum up {input}", Inputs: batchagent.Slice(words(3))},
		batchagent.Backend("vllm://"+strings.TrimPrefix(server.URL, "http://")))
	require.NoError(t, err)
	assert.Positive(t, readings.Load())
}

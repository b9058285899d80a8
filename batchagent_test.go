package batchagent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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
	"github.com/batchagent/batchagent/internal/worker"
	"github.com/batchagent/batchagent/pkg/backend/dial"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
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
	var told atomic.Int64
	results, err := batchagent.Run(t.Context(), batchagent.Batch[note]{
		Task: "Sum up {input}", Inputs: batchagent.Slice(words(30)),
		OnResult: func(batchagent.Result[note]) { told.Add(1) },
	}, batchagent.Simulated())
	require.NoError(t, err)
	require.Len(t, results, 30)
	assert.EqualValues(t, 30, told.Load())
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
		Task: "Sum up {text}", Inputs: batchagent.Slice([]map[string]string{{"text": "a"}, {"txt": "b"}}), SkipBadInputs: true,
	}, batchagent.Simulated())
	require.NoError(t, err)
	require.Len(t, results, 2)
	require.NoError(t, results[0].Err)
	var failed *batchagent.Error
	require.ErrorAs(t, results[1].Err, &failed)
	assert.EqualValues(t, "BadInput", failed.Type)
}

func TestRunReturnsTypedErrors(t *testing.T) {
	t.Parallel()
	run := func(b batchagent.Batch[note], o ...batchagent.Option) error {
		results, err := batchagent.Run(t.Context(), b, o...)
		assert.Empty(t, results)
		return err
	}
	one := batchagent.Slice([]string{"a"})
	var field *batchagent.FieldError
	require.ErrorAs(t, run(batchagent.Batch[note]{Task: "{input}", Inputs: one, MaxTurns: -1}), &field)
	assert.Equal(t, "max_turns", field.Field)
	assert.Zero(t, field.Line)
	require.ErrorAs(t, run(batchagent.Batch[note]{Task: "{inptu}", Inputs: one}), &field)
	assert.Contains(t, field.Message, `the nearest name is "input"`)
	require.ErrorAs(t, run(batchagent.Batch[note]{Task: "{input}"}), &field)
	assert.Equal(t, "inputs", field.Field)
	assert.ErrorContains(t, run(batchagent.Batch[note]{Task: "{input}", Inputs: batchagent.Slice([]string{})}), "nothing to do")
	var bad *batchagent.BadInputsError
	require.ErrorAs(t, run(batchagent.Batch[note]{Task: "{a}", Inputs: batchagent.Slice([]map[string]int{{"a": 1}, {}})}), &bad)
	assert.ErrorContains(t, bad, "input 1: the input has no value for {a}")
	assert.ErrorContains(t, run(batchagent.Batch[note]{Task: "{a}", Inputs: batchagent.Slice([]func(){nil})}), "encode input 0")
	var away *batchagent.UnreachableError
	require.ErrorAs(t, run(batchagent.Batch[note]{Task: "{input}", Inputs: one}, batchagent.Backend("vllm://127.0.0.1:1")), &away)
	require.ErrorAs(t, run(batchagent.Batch[note]{Task: "{input}", Inputs: one}, batchagent.Redis("redis://127.0.0.1:1")), &away)
	assert.ErrorContains(t, run(batchagent.Batch[note]{Task: "{input}", Inputs: one, Tools: []batchagent.Tool{
		batchagent.Func("f", "F.", func(context.Context, string) (string, error) { return "", nil }),
	}}, batchagent.Simulated()), "must be a struct")
	assert.ErrorContains(t, run(batchagent.Batch[note]{Task: "{input}", Inputs: one, Tools: []batchagent.Tool{batchagent.Named("raed_file")}},
		batchagent.Simulated()), "read_file")
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
	b := batchagent.Batch[note]{Task: "Sum up {input}", Inputs: batchagent.Slice(words(500)), MaxInflight: 4,
		OnResult: func(batchagent.Result[note]) { cancel() }}
	results, err := batchagent.Run(ctx, b, simulator(t, vllmsim.Config{ForwardMS: 20}))
	require.ErrorIs(t, err, context.Canceled)
	assert.NotEmpty(t, results)
	for _, r := range results {
		assert.NotEmpty(t, r.Output.Summary)
	}
}

func TestRunReduce(t *testing.T) {
	t.Parallel()
	type all struct {
		Common string `json:"common"`
	}
	results, summary, err := batchagent.RunReduce(t.Context(), batchagent.Batch[note]{
		Task: "Sum up {text}", Inputs: batchagent.Slice([]map[string]string{{"text": "a"}, {"txt": "b"}, {"text": "c"}}), SkipBadInputs: true,
	}, batchagent.Reduce[all]{
		Task: "What do these {n} notes have in common? {results}", Sampling: batchagent.Sampling{MaxTokens: 300},
	}, batchagent.Simulated())
	require.NoError(t, err)
	require.Len(t, results, 3)
	require.Error(t, results[1].Err)
	require.NoError(t, summary.Err)
	assert.Contains(t, summary.Output.Common, "What do these 3 notes have in common")

	var field *batchagent.FieldError
	_, _, err = batchagent.RunReduce(t.Context(), batchagent.Batch[note]{Task: "{input}", Inputs: batchagent.Slice(words(1))},
		batchagent.Reduce[all]{Task: "{outputs}"}, batchagent.Simulated())
	require.ErrorAs(t, err, &field)
	assert.Equal(t, "reduce.task", field.Field)
}

func TestRunPlan(t *testing.T) {
	t.Parallel()
	type question struct {
		Topic string `json:"topic"`
		Text  string `json:"text"`
	}
	looked := atomic.Int64{}
	look := batchagent.Func("look", "Look something up.", func(context.Context, struct {
		At string `json:"at"`
	}) (string, error) {
		looked.Add(1)
		return "pumps", nil
	})
	b := batchagent.Batch[note]{Task: "{topic}: answer {text}"}
	got, err := batchagent.RunPlan(t.Context(), batchagent.Plan[question]{Task: "Use look. Ask up to {max_items} questions.", MaxItems: 20,
		Tools: []batchagent.Tool{look}}, b, batchagent.Reduce[string]{Task: "Join {n} notes."}, batchagent.Simulated())
	require.NoError(t, err)
	require.NoError(t, got.Plan.Err)
	require.NotEmpty(t, got.Plan.Output)
	assert.NotEmpty(t, got.Plan.Output[0].Topic)
	require.Len(t, got.Results, len(got.Plan.Output))
	for i, r := range got.Results {
		require.NoError(t, r.Err)
		assert.Equal(t, i, r.Index)
	}
	require.NoError(t, got.Summary.Err)
	assert.Contains(t, got.Summary.Output, fmt.Sprintf("Join %d notes", len(got.Results)))

	// An item that is a text fills {item}. Without a reducer the summary is zero.
	b.Task = "Answer {item}"
	texts := batchagent.Plan[string]{Task: "Ask."}
	plain, err := batchagent.RunPlan(t.Context(), texts, b, batchagent.Reduce[string]{}, batchagent.Simulated())
	require.NoError(t, err)
	require.Len(t, plain.Results, len(plain.Plan.Output))
	require.NoError(t, plain.Summary.Err)

	cut := batchagent.Plan[string]{Task: "Ask.", Sampling: batchagent.Sampling{MaxTokens: 2}}
	none, err := batchagent.RunPlan(t.Context(), cut, b, batchagent.Reduce[string]{Task: "Join {n} notes."}, batchagent.Simulated())
	var failed *batchagent.Error
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, batch.OutputTruncated, failed.Type)
	assert.Empty(t, none.Results)
	require.Error(t, none.Summary.Err)

	b.Inputs = batchagent.Slice(words(2))
	_, err = batchagent.RunPlan(t.Context(), texts, b, batchagent.Reduce[string]{}, batchagent.Simulated())
	require.ErrorContains(t, err, "leave out inputs or plan")
}

// A job that reaches its budget fails alone. A batch that reaches its budget ends, and Run returns the finished results.
func TestBudgets(t *testing.T) {
	t.Parallel()
	look := batchagent.Func("look", "Looks a word up.", func(context.Context, at) (string, error) { return "a noun", nil })
	b := batchagent.Batch[note]{
		Task: "Look {input} up", Inputs: batchagent.Slice(words(3)), Tools: []batchagent.Tool{look}, JobBudget: batchagent.Budget{Tokens: 1},
	}
	results, err := batchagent.Run(t.Context(), b, batchagent.Simulated())
	require.NoError(t, err)
	require.Len(t, results, 3)
	for _, r := range results {
		var failed *batchagent.Error
		require.ErrorAs(t, r.Err, &failed)
		assert.Equal(t, batch.BudgetExceeded, failed.Type)
	}

	b = batchagent.Batch[note]{
		Task: "Sum up {input}", Inputs: batchagent.Slice(words(40)), MaxInflight: 1,
		BatchBudget: batchagent.Budget{USD: 0.001}, Prices: batchagent.Prices{Prompt: 10, Completion: 20},
	}
	results, err = batchagent.Run(t.Context(), b, batchagent.Simulated())
	var paused *batchagent.PausedError
	require.ErrorAs(t, err, &paused)
	assert.GreaterOrEqual(t, paused.Info.Used.USD, 0.001)
	assert.NotEmpty(t, results)
	assert.Less(t, len(results), 40)

	b.Prices = batchagent.Prices{}
	_, err = batchagent.Run(t.Context(), b, batchagent.Simulated())
	var mistake *batchagent.FieldError
	require.ErrorAs(t, err, &mistake)
	assert.Equal(t, "budget.batch.usd", mistake.Field)
	b.BatchBudget = batchagent.Budget{}
	_, err = batchagent.RunPlan(t.Context(), batchagent.Plan[string]{Task: "Which?", Budget: batchagent.Budget{USD: 1}},
		batchagent.Batch[note]{Task: "Sum up {item}"}, batchagent.Reduce[string]{}, batchagent.Simulated())
	require.ErrorAs(t, err, &mistake)
	assert.Equal(t, "plan.budget.usd", mistake.Field)
	_, _, err = batchagent.RunReduce(t.Context(), b, batchagent.Reduce[string]{Task: "{results}", Budget: batchagent.Budget{USD: 1}}, batchagent.Simulated())
	require.ErrorAs(t, err, &mistake)
	assert.Equal(t, "reduce.budget.usd", mistake.Field)
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

// node starts a worker of a cluster and stops it at the end of the test.
func node(t *testing.T, redis, backend string) {
	t.Helper()
	store, err := statestore.Open(t.Context(), redis, statestore.Options{})
	require.NoError(t, err)
	back, err := dial.Open(t.Context(), backend, dial.Options{})
	require.NoError(t, err)
	pool, err := toolpool.New(toolpool.Config{})
	require.NoError(t, err)
	w, err := worker.New(worker.Config{ID: "node-1", Store: store, Backend: back, Tools: pool})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { assert.NoError(t, w.Run(ctx)) })
	t.Cleanup(func() {
		stop()
		running.Wait()
		require.NoError(t, back.Close())
		require.NoError(t, store.Close())
	})
}

// A program that stops early resumes its batch on the cluster. After the end of the batch, the same program starts another one.
func TestRunOnCluster(t *testing.T) {
	t.Parallel()
	redis, _ := testredis.Mini(t)
	node(t, redis, startSimulator(t, vllmsim.Config{ForwardMS: 5}))
	b := batchagent.Batch[note]{Name: "notes", Task: "Sum up {input}", Inputs: batchagent.Slice(words(100))}
	left := ""
	for r, err := range batchagent.Stream(t.Context(), b, batchagent.Redis(redis)) {
		require.NoError(t, err)
		left = r.Batch
		break
	}
	results, err := batchagent.Run(t.Context(), b, batchagent.Redis(redis))
	require.NoError(t, err)
	require.Len(t, results, 100)
	for i, r := range results {
		require.NoError(t, r.Err)
		assert.Equal(t, i, r.Index)
		assert.Equal(t, left, r.Batch)
		assert.Equal(t, "node-1", r.Worker)
	}
	again, err := batchagent.Run(t.Context(), b, batchagent.Redis(redis))
	require.NoError(t, err)
	assert.NotEqual(t, left, again[0].Batch)

	chained, err := batchagent.Run(t.Context(), batchagent.Batch[string]{
		Task: "{index}: is this true? {summary}", Inputs: batchagent.ResultsOf(left),
	}, batchagent.Redis(redis))
	require.NoError(t, err)
	require.Len(t, chained, 100)
	assert.Contains(t, chained[42].Output, "42: is this true?")

	reused, err := batchagent.Run(t.Context(), b, batchagent.Redis(redis), batchagent.Reuse(left))
	require.NoError(t, err)
	assert.Equal(t, left+"/job-7", reused[7].ReusedFrom)
	assert.Equal(t, results[7].Output, reused[7].Output)

	reduced, summary, err := batchagent.RunReduce(t.Context(), b, batchagent.Reduce[string]{Task: "Join {n} notes."}, batchagent.Redis(redis))
	require.NoError(t, err)
	require.Len(t, reduced, 100)
	require.NoError(t, summary.Err)
	assert.Contains(t, summary.Output, "Join 100 notes")

	planned := batchagent.Batch[note]{Name: "planned", Task: "Sum up {item}"}
	got, err := batchagent.RunPlan(t.Context(), batchagent.Plan[string]{Task: "List them."}, planned, batchagent.Reduce[string]{Task: "Join {n} notes."}, batchagent.Redis(redis))
	require.NoError(t, err)
	require.NotEmpty(t, got.Results)
	require.Len(t, got.Results, len(got.Plan.Output))
	assert.Equal(t, "node-1", got.Plan.Worker)
	require.NoError(t, got.Summary.Err)

	own := b
	own.Tools = []batchagent.Tool{batchagent.Func("f", "F.", func(context.Context, at) (string, error) { return "", nil })}
	_, err = batchagent.Run(t.Context(), own, batchagent.Redis(redis))
	assert.ErrorContains(t, err, "f: functions of this program")
}

func TestRunRefusesUnknownKeepReasoning(t *testing.T) {
	t.Parallel()
	b := batchagent.Batch[note]{Task: "Sum up {input}", Inputs: batchagent.Slice(words(1)), KeepReasoning: batchagent.KeepNever}
	_, err := batchagent.Run(t.Context(), b, batchagent.Simulated())
	require.NoError(t, err)
	b.KeepReasoning = "sometimes"
	_, err = batchagent.Run(t.Context(), b, batchagent.Simulated())
	assert.ErrorContains(t, err, "keep_reasoning: must be auto, always or never")
}

func TestRunAcceptsLimitsAndTimeouts(t *testing.T) {
	t.Parallel()
	_, err := batchagent.Run(t.Context(), batchagent.Batch[note]{
		Task: "Sum up {input}", Inputs: batchagent.Slice(words(1)), MaxRetries: -1, TTL: 90 * time.Minute,
		Timeouts: batchagent.Timeouts{Turn: 1500 * time.Millisecond, Job: time.Hour},
		Sampling: batchagent.Sampling{Temperature: new(float64), MaxTokens: 50},
	}, batchagent.Simulated())
	require.NoError(t, err)
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

// A model answers once or always with a number outside the range of the Go type. Only its own job fails.
func TestUndecodableOutputFailsOnlyItsJob(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/models") {
			_, _ = io.WriteString(w, `{"object":"list","data":[{"id":"m","object":"model","max_model_len":10000}]}`)
			return
		}
		body, _ := io.ReadAll(r.Body)
		answer := `{\"score\":7}`
		switch asked := string(body); {
		case strings.Contains(asked, "Grade 3"):
			answer = `{\"score\":700}`
		case strings.Contains(asked, "Grade 4"):
			answer = `{\"score\":-1}`
		case strings.Contains(asked, "Grade 5") && !strings.Contains(asked, "cannot be used"):
			answer = `{\"score\":500}`
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintf(w, "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n", answer)
	}))
	t.Cleanup(server.Close)
	results, err := batchagent.Run(t.Context(), batchagent.Batch[grade]{
		Task: "Grade {input}.", Inputs: batchagent.Slice([]int{0, 1, 2, 3, 4, 5}), Schema: json.RawMessage(`{"type":"object","properties":{"score":{"type":"integer"}},"required":["score"]}`),
	}, batchagent.Backend("vllm://"+strings.TrimPrefix(server.URL, "http://")))
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

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// counter is a model that adds up the numbers in the lines of its prompt. It is safe for concurrent use.
type counter struct {
	mu      sync.Mutex
	prompts []string
	answer  func(prompt string) (*backend.Response, error) // replaces the sum
}

func (c *counter) Generate(_ context.Context, r *backend.Request, _ backend.Observer) (*backend.Response, error) {
	prompt := r.Messages[len(r.Messages)-1].Content
	c.mu.Lock()
	c.prompts = append(c.prompts, prompt)
	c.mu.Unlock()
	if c.answer != nil {
		if resp, err := c.answer(prompt); resp != nil || err != nil {
			return resp, err
		}
	}
	sum, failed := 0, 0
	for line := range strings.Lines(prompt) {
		var l struct {
			Output struct{ Sum, Failed int }
			Error  *batch.Error
		}
		if json.Unmarshal([]byte(line), &l) != nil {
			continue
		}
		if l.Error != nil {
			failed++
		}
		sum, failed = sum+l.Output.Sum, failed+l.Output.Failed
	}
	return says(fmt.Sprintf(`{"sum":%d,"failed":%d}`, sum, failed)).resp, nil
}

func (c *counter) session() Session {
	return Session{Model: c, Slots: c, Tools: c, Journal: appends(func(context.Context, int, []byte) error { return nil })}
}

// results are those of another batch.
type results func(ctx context.Context) iter.Seq2[batch.Result, error]

func (f results) Results(ctx context.Context) iter.Seq2[batch.Result, error] { return f(ctx) }

func (c *counter) Acquire(context.Context, Wait) (func(), time.Duration, error) {
	return func() {}, 0, nil
}

func (c *counter) Call(context.Context, toolpool.Call) (toolpool.Result, error) {
	return toolpool.Result{}, errors.New("there are no tools")
}

// reduction is a job over n results of 1 each. Every tenth has failed. Each line has pad more bytes.
type reduction struct {
	n, pad  int
	missing int // missing results
	window  int
	journal [][]byte
	budget  batch.Budget
	stopAt  int // the journal takes no turn after this one; 0 takes all
}

var errNoMore = errors.New("the lease was lost")

func (r *reduction) run(t *testing.T, c *counter) (batch.Result, error) {
	t.Helper()
	compiled := &spec.Compiled{Name: "t/reduce", System: "sys", Task: "Add up {n} lines.\n{results}", MaxTurns: 1, Reduces: "b_1", JobBudget: r.budget,
		Schema: json.RawMessage(`{"type":"object","properties":{"sum":{"type":"integer"},"failed":{"type":"integer"}},"required":["sum","failed"]}`)}
	p, err := Compile(compiled, nil, backend.Model{ID: "m", MaxModelLen: r.window})
	require.NoError(t, err)
	uses := c.session()
	uses.Journal = appends(func(_ context.Context, turn int, data []byte) error {
		if turn != len(r.journal)+1 {
			return fmt.Errorf("turn %d after %d (I3)", turn, len(r.journal))
		}
		if r.stopAt > 0 && turn > r.stopAt {
			return errNoMore
		}
		r.journal = append(r.journal, data)
		return nil
	})
	uses.Results = results(func(context.Context) iter.Seq2[batch.Result, error] {
		return func(yield func(batch.Result, error) bool) {
			for i := range int64(r.n - r.missing) {
				res := batch.Result{Index: i, JobID: batch.JobID(i), Status: batch.OK, Output: fmt.Appendf(nil, `{"sum":1,"pad":"%s\u003c"}`, strings.Repeat("x", r.pad))}
				if i%10 == 9 {
					res.Status, res.Output, res.Error = batch.StatusFailed, nil, &batch.Error{Type: batch.Timeout, Message: "late", Raw: "secret text"}
				}
				if !yield(res, nil) {
					return
				}
			}
		}
	})
	return NewRunner(Config{Worker: "w"}).Run(t.Context(), p, Job{
		ID: batch.Job{Batch: "b_1.reduce"}, Attempt: 1, Payload: fmt.Appendf(nil, `{"reduce":{"n":%d}}`, r.n), Turns: r.journal,
	}, uses)
}

func sumOf(t *testing.T, r batch.Result) (sum, failed int) {
	t.Helper()
	require.Equal(t, batch.OK, r.Status, "%+v", r.Error)
	var out struct{ Sum, Failed int }
	require.NoError(t, json.Unmarshal(r.Output, &out))
	return out.Sum, out.Failed
}

func TestFittingResultsAreReducedInOneCall(t *testing.T) {
	t.Parallel()
	c := &counter{}
	r := &reduction{n: 20, window: 32_000}
	result, err := r.run(t, c)
	require.NoError(t, err)
	sum, failed := sumOf(t, result)
	assert.Equal(t, []int{18, 2}, []int{sum, failed})
	require.Len(t, c.prompts, 1)
	assert.Equal(t, 1, result.Turns)
	assert.EqualValues(t, 10, result.Usage.PromptTokens)
	assert.Empty(t, r.journal, "a reduction in one call writes no journal")
	lines := strings.Split(c.prompts[0], "\n")
	require.Len(t, lines, 21)
	assert.Equal(t, "Add up 20 lines.", lines[0])
	assert.Equal(t, `{"index":0,"status":"ok","output":{"sum":1,"pad":"<"}}`, lines[1])
	assert.Equal(t, `{"index":9,"status":"failed","error":{"type":"Timeout","message":"late"}}`, lines[10])
}

// Every result is counted once in a tree of any shape, and every prompt fits.
func TestLargeResultsAreReducedAsTree(t *testing.T) {
	t.Parallel()
	for _, n := range []int{100, 1_000, 3_000} {
		c := &counter{}
		r := &reduction{n: n, pad: 100, window: 2_000}
		result, err := r.run(t, c)
		require.NoError(t, err)
		sum, failed := sumOf(t, result)
		assert.Equal(t, []int{n - n/10, n / 10}, []int{sum, failed})
		assert.Greater(t, len(c.prompts), 1)
		assert.Equal(t, len(c.prompts), result.Turns)
		assert.Len(t, r.journal, len(c.prompts)-1)
		for _, p := range c.prompts {
			assert.Less(t, len(p), 2_000*bytesPerTokenIn)
		}
		again := &reduction{n: n, pad: 100, window: 2_000}
		_, err = again.run(t, &counter{})
		require.NoError(t, err)
		assert.Equal(t, r.journal, again.journal, "every run makes the same tree")
	}
}

// A result that is longer than the context is shortened, and the tree still ends.
func TestLongResultIsShortened(t *testing.T) {
	t.Parallel()
	c := &counter{}
	r := &reduction{n: 30, pad: 20_000, window: 2_000}
	_, err := r.run(t, c)
	require.NoError(t, err)
	assert.Contains(t, c.prompts[0], "left out to fit the context")
	for _, p := range c.prompts {
		assert.Less(t, len(p), 2_000*bytesPerTokenIn)
	}
}

// A worker dies after each turn in turn. The next worker continues after it and gets the same output.
func TestReductionResumesFromJournal(t *testing.T) {
	t.Parallel()
	whole := &counter{}
	r := &reduction{n: 1_000, pad: 100, window: 2_000}
	want, err := r.run(t, whole)
	require.NoError(t, err)
	turns := len(r.journal)
	require.Greater(t, turns, 20)
	for stop := 1; stop < turns; stop += 7 {
		cut := &reduction{n: 1_000, pad: 100, window: 2_000, stopAt: stop}
		_, err := cut.run(t, &counter{})
		require.ErrorIs(t, err, errNoMore)
		require.Len(t, cut.journal, stop)
		cut.stopAt = 0
		rest := &counter{}
		got, err := cut.run(t, rest)
		require.NoError(t, err)
		assert.Equal(t, want.Output, got.Output)
		assert.Equal(t, want.Usage, got.Usage)
		assert.Equal(t, want.Turns, got.Turns)
		assert.Equal(t, r.journal, cut.journal)
		assert.Len(t, rest.prompts, len(whole.prompts)-stop, "journalled parts are not requested again")
	}
}

func TestFailedReduction(t *testing.T) {
	t.Parallel()
	gone, err := (&reduction{n: 50, missing: 3, window: 32_000}).run(t, &counter{})
	require.NoError(t, err)
	require.NotNil(t, gone.Error)
	assert.Equal(t, batch.BadInput, gone.Error.Type)
	assert.Contains(t, gone.Error.Message, "3 of the 50 results to reduce are gone")

	c := &counter{answer: func(prompt string) (*backend.Response, error) {
		if strings.Contains(prompt, `{"index":50,`) || strings.Contains(prompt, "cannot be used") {
			return says("no").resp, nil
		}
		return nil, nil
	}}
	r := &reduction{n: 300, pad: 100, window: 2_000}
	invalid, err := r.run(t, c)
	require.NoError(t, err)
	require.NotNil(t, invalid.Error)
	assert.Equal(t, batch.OutputInvalid, invalid.Error.Type)
	assert.Regexp(t, `^results \d+ to \d+: `, invalid.Error.Message)
	assert.Positive(t, invalid.Turns)
}

func TestReductionRepairsPart(t *testing.T) {
	t.Parallel()
	var once sync.Once
	c := &counter{}
	c.answer = func(string) (resp *backend.Response, _ error) {
		once.Do(func() { resp = says("no").resp })
		return resp, nil
	}
	r := &reduction{n: 20, window: 32_000}
	result, err := r.run(t, c)
	require.NoError(t, err)
	assert.Equal(t, 2, result.Turns, "the answer and its repair")
}

func TestReduceSplitsRefusedGroups(t *testing.T) {
	for name, c := range map[string]struct {
		window int // in the server's refusal
		least  int // bytes that the server accepts
	}{"with a window": {1000, 3000}, "without a window": {0, 3000}, "far below": {0, 900}} {
		t.Run(name, func(t *testing.T) {
			refusals := 0
			var mu sync.Mutex
			model := &counter{answer: func(prompt string) (*backend.Response, error) {
				if len(prompt) <= c.least {
					return nil, nil
				}
				mu.Lock()
				defer mu.Unlock()
				refusals++
				return nil, &backend.Error{Class: backend.ContextTooLong, Message: "too long", Window: c.window}
			}}
			r := &reduction{n: 300}
			res, err := r.run(t, model)
			require.NoError(t, err)
			sum, failed := sumOf(t, res)
			assert.Equal(t, []int{270, 30}, []int{sum, failed}, "each result counts once")
			assert.Positive(t, refusals)
			assert.LessOrEqual(t, refusals, 12*sideBySide)

			again, err := (&reduction{n: 300, journal: r.journal}).run(t, model)
			require.NoError(t, err)
			assert.JSONEq(t, string(res.Output), string(again.Output))
		})
	}
}

func TestReduceFailsIfNothingFits(t *testing.T) {
	model := &counter{answer: func(string) (*backend.Response, error) {
		return nil, &backend.Error{Class: backend.ContextTooLong, Message: "too long"}
	}}
	res, err := (&reduction{n: 40}).run(t, model)
	require.NoError(t, err)
	require.NotNil(t, res.Error)
	assert.Equal(t, batch.Oversized, res.Error.Type)
	assert.Less(t, len(model.prompts), 12*sideBySide)
}

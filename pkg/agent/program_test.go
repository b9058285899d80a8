package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// programs runs a function as the program of a job.
type programs func(ctx context.Context, task ProgramTask, calls *ProgramCalls) (ProgramAnswer, error)

func (f programs) RunProgram(ctx context.Context, task ProgramTask, calls *ProgramCalls) (ProgramAnswer, error) {
	return f(ctx, task, calls)
}

// host is what surrounds one program's job: a model, tools and a journal.
type host struct {
	program programs
	journal [][]byte
	stop    chan struct{}
	change  func(*spec.Compiled)

	mu    sync.Mutex
	model func(n int, r *backend.Request, o backend.Observer) (*backend.Response, error)
	wait  func(ctx context.Context, r *backend.Request) error
	calls int // model calls
	tools []toolpool.Call
	// afterTool is called when a tool has run. With an error, the worker dies before it knows the result.
	afterTool func() error
	ids       map[string]int // of model calls
	fail      error          // of the journal
	appended  func()         // called when a turn is written
	ctx       context.Context
	counter   backend.TokenCounter
	moves     []batch.State
}

func (h *host) Acquire(context.Context, Wait) (func(), time.Duration, error) {
	return func() {}, 0, nil
}

func (h *host) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	h.mu.Lock()
	h.calls++
	if h.ids == nil {
		h.ids = map[string]int{}
	}
	h.ids[r.ID]++
	n := h.calls
	h.mu.Unlock()
	if h.wait != nil {
		if err := h.wait(ctx, r); err != nil {
			return nil, err
		}
	}
	if h.model != nil {
		return h.model(n, r, o)
	}
	return says(fmt.Sprintf("answer %d to %s", n, r.Messages[len(r.Messages)-1].Content)).resp, nil
}

func (h *host) Call(ctx context.Context, c toolpool.Call) (toolpool.Result, error) {
	if ctx.Err() != nil {
		return toolpool.Result{}, context.Cause(ctx)
	}
	h.mu.Lock()
	h.tools = append(h.tools, c)
	h.mu.Unlock()
	if h.afterTool != nil {
		if err := h.afterTool(); err != nil {
			return toolpool.Result{}, err
		}
	}
	return toolpool.Result{Content: "seen " + c.Arguments, Executed: true}, nil
}

func (h *host) Append(_ context.Context, turn int, data []byte) error {
	if h.appended != nil {
		h.appended()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fail != nil {
		return h.fail
	}
	if turn != len(h.journal)+1 {
		return fmt.Errorf("turn %d after %d (I3)", turn, len(h.journal))
	}
	h.journal = append(h.journal, data)
	return nil
}

func (h *host) StateChanged(_, to batch.State) { h.moves = append(h.moves, to) }

func (h *host) TurnBegan(context.Context, int) (func(context.Context) context.Context, func(error)) {
	return func(ctx context.Context) context.Context { return ctx }, func(error) {}
}

// run runs one attempt. Each attempt gets the journal of the ones before.
func (h *host) run(t *testing.T) (batch.Result, error) {
	t.Helper()
	compiled := &spec.Compiled{Name: "t", System: "sys", Task: "do {x}", Tools: []string{"look"}, MaxTurns: 20, MaxRetries: 2,
		Agent:    &spec.Agent{Program: "p"},
		Timeouts: spec.Timeouts{Turn: time.Minute, Tool: time.Minute}}
	if h.change != nil {
		h.change(compiled)
	}
	tools := []toolpool.Tool{{Name: "look", Parameters: json.RawMessage(`{"type":"object"}`), Share: toolpool.Inflight}}
	d, err := Compile(compiled, tools, backend.Model{ID: "m"})
	require.NoError(t, err)
	ctx := h.ctx
	if ctx == nil {
		ctx = t.Context()
	}
	return NewRunner(Config{Worker: "w", Counter: h.counter}).Run(ctx, d, Job{
		ID: batch.Job{Batch: "b_1", Index: 7}, Attempt: 1, Payload: []byte(`{"in":{"x":"it"},"carry":{"x":"it","y":2}}`), Turns: h.journal, Stop: h.stop,
	}, Session{Model: h, Slots: h, Tools: h, Journal: h, Observer: h, Program: h.program})
}

func question(text string) *backend.Request {
	return &backend.Request{Messages: []backend.Message{{Role: backend.RoleUser, Content: text}}}
}

// ask makes a model call and returns the text of the answer.
func ask(ctx context.Context, calls *ProgramCalls, text string) (string, error) {
	r, err := calls.Call(ctx, question(text), backend.Observer{})
	if err != nil {
		return "", err
	}
	return r.Message.Content, nil
}

// wordCounter counts words as tokens.
type wordCounter struct{ models []string }

func (c *wordCounter) CountTokens(_ context.Context, r *backend.Request) (int, error) {
	c.models = append(c.models, r.Model)
	return len(strings.Fields(r.Messages[0].Content)), nil
}

// A program's counting of tokens is done by the model server with the job's model, and is no turn.
func TestProgramCountsTokens(t *testing.T) {
	t.Parallel()
	count := func(want int, wantErr error) programs {
		return func(ctx context.Context, _ ProgramTask, calls *ProgramCalls) (ProgramAnswer, error) {
			n, err := calls.CountTokens(ctx, question("three words here"))
			require.ErrorIs(t, err, wantErr)
			assert.Equal(t, want, n)
			return ProgramAnswer{Text: `{"text":"x"}`}, nil
		}
	}
	counter := &wordCounter{}
	h := &host{program: count(3, nil), counter: counter}
	r, err := h.run(t)
	require.NoError(t, err)
	require.Nil(t, r.Error)
	assert.Zero(t, r.Turns)
	assert.Equal(t, []string{"m"}, counter.models)
	r, err = (&host{program: count(0, errors.ErrUnsupported)}).run(t)
	require.NoError(t, err)
	require.Nil(t, r.Error)
}

func TestProgramGetsItsTaskAndItsInput(t *testing.T) {
	t.Parallel()
	h := &host{program: func(ctx context.Context, task ProgramTask, calls *ProgramCalls) (ProgramAnswer, error) {
		assert.Equal(t, "do it", task.Task)
		assert.Equal(t, "sys", task.System)
		assert.JSONEq(t, `{"x":"it","y":2}`, string(task.Input))
		text, err := ask(ctx, calls, "one")
		return ProgramAnswer{Text: text, Diff: "d"}, err
	}}
	r, err := h.run(t)
	require.NoError(t, err)
	require.Nil(t, r.Error)
	assert.JSONEq(t, `{"text":"answer 1 to one"}`, string(r.Output))
	assert.Equal(t, 1, r.Turns)
	assert.Equal(t, int64(10), r.Usage.PromptTokens)
	assert.Equal(t, "d", r.Diff)
	assert.Equal(t, []batch.State{batch.Running, batch.ToolWait, batch.Running, batch.Complete}, h.moves)
}

// A later attempt answers the calls of the earlier one from the journal, also if they come in another order.
func TestProgramIsReplayed(t *testing.T) {
	t.Parallel()
	dies := errors.New("the worker dies")
	die := true
	h := &host{}
	h.program = func(ctx context.Context, _ ProgramTask, calls *ProgramCalls) (ProgramAnswer, error) {
		order := []string{"a", "b", "b"}
		if !die {
			order = []string{"b", "b", "a"}
		}
		texts := map[string][]string{}
		for _, q := range order {
			text, err := ask(ctx, calls, q)
			require.NoError(t, err)
			texts[q] = append(texts[q], text)
		}
		result, err := calls.CallTool(ctx, "look", json.RawMessage(`{"k":1}`))
		require.NoError(t, err)
		assert.Equal(t, `seen {"k":1}`, result.Content)
		if die {
			return ProgramAnswer{}, dies
		}
		last, err := ask(ctx, calls, "last")
		assert.Equal(t, map[string][]string{"a": {"answer 1 to a"}, "b": {"answer 2 to b", "answer 3 to b"}}, texts)
		return ProgramAnswer{Text: last}, err
	}
	_, err := h.run(t)
	require.ErrorIs(t, err, dies)
	require.Len(t, h.journal, 4)
	die = false
	r, err := h.run(t)
	require.NoError(t, err)
	require.Nil(t, r.Error)
	assert.Equal(t, 4, h.calls)
	assert.Len(t, h.tools, 1)
	assert.Equal(t, 4, r.Replayed)
	assert.Zero(t, r.DivergedAt)
	assert.Equal(t, 4, r.Turns)
	assert.Equal(t, batch.ToolCounts{Asked: 1, Executed: 1}, r.Tools)
	assert.NotContains(t, string(h.journal[0]), `"content":"a"`, "the journal has answers and no requests")
}

func TestProgramThatDivergesGoesOn(t *testing.T) {
	t.Parallel()
	attempt := 0
	h := &host{}
	h.program = func(ctx context.Context, _ ProgramTask, calls *ProgramCalls) (ProgramAnswer, error) {
		attempt++
		for _, q := range []string{"same", fmt.Sprintf("attempt %d", attempt)} {
			if _, err := ask(ctx, calls, q); err != nil {
				return ProgramAnswer{}, err
			}
		}
		if attempt == 1 {
			return ProgramAnswer{}, errors.New("the worker dies")
		}
		return ProgramAnswer{Text: "done"}, nil
	}
	_, err := h.run(t)
	require.Error(t, err)
	r, err := h.run(t)
	require.NoError(t, err)
	assert.Equal(t, 1, r.Replayed)
	assert.Equal(t, 2, r.DivergedAt)
	assert.Equal(t, 3, h.calls)
}

// Nothing that decides about an answer may be missing in its key: another request must not get it.
func TestKeysOfRequestsDiffer(t *testing.T) {
	t.Parallel()
	warm, seed := 0.5, int64(1)
	seen := map[string]int{}
	for i, change := range []func(*backend.Request){
		func(*backend.Request) {},
		func(r *backend.Request) { r.Messages[0].Content = "other" },
		func(r *backend.Request) { r.Messages[0].Role = backend.RoleSystem },
		func(r *backend.Request) { r.Messages[0].Parts = []backend.Part{{Image: "https://x/a.png"}} },
		func(r *backend.Request) { r.Messages[0].Parts = []backend.Part{{Text: "q"}} },
		func(r *backend.Request) { r.Messages[0].ToolCallID = "c" },
		func(r *backend.Request) { r.Tools = []backend.Tool{{Name: "t"}} },
		func(r *backend.Request) { r.Tools = []backend.Tool{{Name: "t", Parameters: []byte(`{}`)}} },
		func(r *backend.Request) { r.ToolChoice = backend.ToolChoiceRequired },
		func(r *backend.Request) { r.ToolChoice, r.MustCall = backend.ToolChoiceRequired, "t" },
		func(r *backend.Request) { r.OneCall = true },
		func(r *backend.Request) { r.Schema = &backend.Schema{JSON: []byte(`{}`)} },
		func(r *backend.Request) { r.Sampling.Temperature = &warm },
		func(r *backend.Request) { r.Sampling.TopP = &warm },
		func(r *backend.Request) { r.Sampling.Seed = &seed },
		func(r *backend.Request) { r.Sampling.MaxTokens = 5 },
		func(r *backend.Request) { r.Sampling.Stop = []string{"x"} },
		func(r *backend.Request) {
			r.Sampling.ExtraBody = map[string]json.RawMessage{"top_k": json.RawMessage("1")}
		},
	} {
		r := question("q")
		change(r)
		key, err := requestKey(r)
		require.NoError(t, err)
		earlier, found := seen[key]
		assert.False(t, found, "requests %d and %d have the same key", earlier, i)
		seen[key] = i
	}
	assert.NotEqual(t, toolKey("a", "b c"), toolKey("a b", "c"))
}

func TestProgramThatFails(t *testing.T) {
	t.Parallel()
	h := &host{program: func(context.Context, ProgramTask, *ProgramCalls) (ProgramAnswer, error) {
		return ProgramAnswer{}, batch.NewError(batch.ProgramFailed, "exit status 3")
	}}
	r, err := h.run(t)
	require.NoError(t, err)
	assert.Equal(t, batch.ProgramFailed, r.Error.Type)

	h.program = func(context.Context, ProgramTask, *ProgramCalls) (ProgramAnswer, error) {
		return ProgramAnswer{Text: "no JSON"}, nil
	}
	h.change = func(c *spec.Compiled) { c.Schema = json.RawMessage(`{"type":"object"}`) }
	r, err = h.run(t)
	require.NoError(t, err)
	assert.Equal(t, batch.OutputInvalid, r.Error.Type)
	assert.Equal(t, "no JSON", r.Error.Raw)
}

func TestProgramThatMustStartAgain(t *testing.T) {
	t.Parallel()
	starts := 0
	h := &host{program: func(ctx context.Context, _ ProgramTask, calls *ProgramCalls) (ProgramAnswer, error) {
		starts++
		if _, err := ask(ctx, calls, "once"); err != nil {
			return ProgramAnswer{}, err
		}
		if starts < 3 {
			return ProgramAnswer{}, fmt.Errorf("%w: it was killed", ErrRestart)
		}
		return ProgramAnswer{Text: "done"}, nil
	}}
	r, err := h.run(t)
	require.NoError(t, err)
	assert.Equal(t, batch.OK, r.Status)
	assert.Equal(t, 1, h.calls)

	starts = -10
	r, err = h.run(t)
	require.NoError(t, err)
	assert.Equal(t, batch.ProgramFailed, r.Error.Type)
	assert.Contains(t, r.Error.Message, "started 3 times")
	assert.Contains(t, r.Error.Message, "it was killed")
}

// A program may give up a call, for example because it was killed in it. That is no fault of the job.
func TestProgramGivesUpACall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &host{}
		h.program = func(ctx context.Context, _ ProgramTask, calls *ProgramCalls) (ProgramAnswer, error) {
			brief, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			_, err := ask(brief, calls, "slow")
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			_, err = calls.CallTool(brief, "look", json.RawMessage("{}"))
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			text, err := ask(ctx, calls, "quick")
			return ProgramAnswer{Text: text}, err
		}
		h.wait = func(ctx context.Context, r *backend.Request) error {
			if r.Messages[0].Content == "slow" {
				<-ctx.Done()
			}
			return ctx.Err()
		}
		r, err := h.run(t)
		require.NoError(t, err)
		require.Nil(t, r.Error)
		assert.Equal(t, 1, r.Turns)
	})
}

// A failed model call is the program's to handle. If the program fails because of it, the job failed for the same reason.
func TestProgramSeesFailedCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &host{model: func(int, *backend.Request, backend.Observer) (*backend.Response, error) {
			return nil, &backend.Error{Class: backend.Overloaded, Message: "scripted"}
		}}
		h.program = func(ctx context.Context, _ ProgramTask, calls *ProgramCalls) (ProgramAnswer, error) {
			_, err := ask(ctx, calls, "q")
			var e *backend.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, backend.Overloaded, e.Class)
			return ProgramAnswer{}, batch.NewError(batch.ProgramFailed, "exit status 1")
		}
		r, err := h.run(t)
		require.NoError(t, err)
		assert.Equal(t, batch.BackendUnavailable, r.Error.Type)
		assert.True(t, r.Error.Retryable)
		assert.Contains(t, r.Error.Message, "exit status 1")
		assert.Equal(t, 3, h.calls, "the call was retried")

		h.model = func(int, *backend.Request, backend.Observer) (*backend.Response, error) {
			return nil, &backend.Error{Class: backend.InvalidRequest, Message: "scripted"}
		}
		h.program = func(ctx context.Context, _ ProgramTask, calls *ProgramCalls) (ProgramAnswer, error) {
			_, err := ask(ctx, calls, "q")
			assert.Error(t, err)
			return ProgramAnswer{Text: "I gave up"}, nil
		}
		r, err = h.run(t)
		require.NoError(t, err)
		assert.Equal(t, batch.OK, r.Status)
	})
}

func TestProgramStopsAtABoundary(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &host{stop: make(chan struct{})}
		h.model = func(int, *backend.Request, backend.Observer) (*backend.Response, error) {
			close(h.stop)
			time.Sleep(time.Second) //nolint // virtual time
			return says("late").resp, nil
		}
		h.program = func(ctx context.Context, _ ProgramTask, calls *ProgramCalls) (ProgramAnswer, error) {
			text, err := ask(ctx, calls, "q")
			assert.NoError(t, err)
			assert.Equal(t, "late", text, "a call under way ends as usual")
			_, err = ask(ctx, calls, "more")
			assert.ErrorIs(t, err, ErrStopped)
			<-ctx.Done()
			return ProgramAnswer{}, context.Cause(ctx)
		}
		_, err := h.run(t)
		require.ErrorIs(t, err, ErrStopped)
		assert.Len(t, h.journal, 1)
	})
}

func TestProgramEndsWithItsLease(t *testing.T) {
	t.Parallel()
	fenced := errors.New("fenced")
	h := &host{fail: fenced}
	h.program = func(ctx context.Context, _ ProgramTask, calls *ProgramCalls) (ProgramAnswer, error) {
		_, err := ask(ctx, calls, "q")
		assert.ErrorIs(t, err, fenced)
		<-ctx.Done()
		_, err = ask(context.Background(), calls, "after the end")
		assert.ErrorIs(t, err, fenced)
		return ProgramAnswer{Text: "too late"}, nil
	}
	_, err := h.run(t)
	require.ErrorIs(t, err, fenced)
	assert.Equal(t, 1, h.calls)
}

func TestProgramIsLimited(t *testing.T) {
	t.Parallel()
	h := &host{change: func(c *spec.Compiled) { c.MaxTurns = 2 }}
	h.program = func(ctx context.Context, _ ProgramTask, calls *ProgramCalls) (ProgramAnswer, error) {
		for {
			if _, err := ask(ctx, calls, "again"); err != nil {
				return ProgramAnswer{}, err
			}
		}
	}
	r, err := h.run(t)
	require.NoError(t, err)
	assert.Equal(t, batch.TurnsExhausted, r.Error.Type)
	assert.Equal(t, 2, h.calls)

	h.change = func(c *spec.Compiled) { c.JobBudget.Tokens = 13 } // a call uses 12
	h.journal, h.calls = nil, 0
	r, err = h.run(t)
	require.NoError(t, err)
	assert.Equal(t, batch.BudgetExceeded, r.Error.Type)
	assert.Equal(t, 2, h.calls)
}

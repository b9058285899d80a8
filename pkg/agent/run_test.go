package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
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

// reply is the reaction of the scripted model to one call.
type reply struct {
	resp *backend.Response
	err  error
}

func says(text string) reply {
	return reply{resp: &backend.Response{Finish: backend.FinishStop, Message: backend.Message{Content: text}, Model: "m",
		Usage: backend.Usage{PromptTokens: 10, CachedTokens: 3, CompletionTokens: 2}}}
}

func cutAt(text string) reply {
	r := says(text)
	r.resp.Finish = backend.FinishLength
	return r
}

func asks(arguments string) reply {
	r := says("")
	r.resp.Finish = backend.FinishToolCalls
	r.resp.Message.ToolCalls = []backend.ToolCall{{ID: "c1", Name: "look", Arguments: arguments}}
	return r
}

func fails(c backend.Class) reply { return reply{err: &backend.Error{Class: c, Message: "scripted"}} }

// appends is a journal.
type appends func(ctx context.Context, turn int, data []byte) error

func (f appends) Append(ctx context.Context, turn int, data []byte) error { return f(ctx, turn, data) }

// stage is one agent with a scripted model and scripted tools.
type stage struct {
	script   []reply
	requests []backend.Request
	journal  [][]byte
	held     atomic.Int32 // slots; must be 1 in a model call and 0 in a tool (I8)
	toolRuns int
	window   int // tokens of context
	stop     chan struct{}
	budget   Budget
	generate func(ctx context.Context, o backend.Observer) (*backend.Response, error) // replaces the script
	tool     func(ctx context.Context, c toolpool.Call) (toolpool.Result, error)
}

func (s *stage) Acquire(context.Context, Wait) (func(), time.Duration, error) {
	s.held.Add(1)
	return func() { s.held.Add(-1) }, 0, nil
}

func (s *stage) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	if s.held.Load() != 1 {
		return nil, errors.New("model call without its slot")
	}
	copied := *r
	copied.Messages = append([]backend.Message(nil), r.Messages...)
	s.requests = append(s.requests, copied)
	if s.generate != nil {
		return s.generate(ctx, o)
	}
	if len(s.script) == 0 {
		return nil, errors.New("the script is over")
	}
	next := s.script[0]
	s.script = s.script[1:]
	return next.resp, next.err
}

func (s *stage) Call(ctx context.Context, c toolpool.Call) (toolpool.Result, error) {
	s.toolRuns++
	if s.tool != nil {
		return s.tool(ctx, c)
	}
	if s.held.Load() != 0 {
		return toolpool.Result{}, errors.New("tool call inside a slot")
	}
	return toolpool.Result{Content: "seen " + c.Arguments, Executed: true}, nil
}

func (s *stage) run(t require.TestingT, change func(*spec.Compiled)) (batch.Result, error) {
	compiled := &spec.Compiled{Name: "t", System: "sys", Task: "do {x}", Tools: []string{"look"}, MaxTurns: 4, MaxRetries: 2,
		Schema:   json.RawMessage(`{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}`),
		Timeouts: spec.Timeouts{Turn: time.Minute, Tool: time.Minute}}
	if change != nil {
		change(compiled)
	}
	var tools []toolpool.Tool
	for _, name := range compiled.Needs() {
		tools = append(tools, toolpool.Tool{Name: name, Parameters: json.RawMessage(`{"type":"object"}`), Share: toolpool.Inflight})
	}
	p, err := Compile(compiled, tools, backend.Model{ID: "m", MaxModelLen: s.window})
	require.NoError(t, err)
	return NewRunner(Config{Worker: "w"}).Run(context.Background(), p, Job{
		ID: batch.Job{Batch: "b_1", Index: 7}, Attempt: 1, Payload: []byte(`{"in":{"x":"it"}}`), Turns: s.journal, Stop: s.stop,
	}, Session{Model: s, Slots: s, Tools: s, Budget: s.budget, Journal: appends(func(_ context.Context, turn int, data []byte) error {
		if turn != len(s.journal)+1 {
			return fmt.Errorf("turn %d after %d (I3)", turn, len(s.journal))
		}
		s.journal = append(s.journal, data)
		return nil
	})})
}

func TestJobBudgetEndsJobBeforeNextCall(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*spec.Compiled){
		"tokens": func(c *spec.Compiled) { c.JobBudget.Tokens = 24 }, // a call of these tests uses 12
		"money": func(c *spec.Compiled) {
			c.JobBudget.USD, c.Prices = 0.0005, batch.Prices{Prompt: 10, Cached: 10, Completion: 75} // 0.00025 a call
		},
	} {
		s := &stage{script: []reply{asks(`{}`), asks(`{}`), says(`{"a":1}`)}}
		r, err := s.run(t, change)
		require.NoError(t, err, name)
		require.NotNil(t, r.Error, name)
		assert.Equal(t, batch.BudgetExceeded, r.Error.Type, name)
		assert.Contains(t, r.Error.Message, "in 2 turns", name)
		assert.False(t, r.Error.Retryable, name)
		assert.Equal(t, 2, r.Turns, name)
	}
	s := &stage{script: []reply{asks(`{}`), says(`{"a":1}`)}}
	r, err := s.run(t, func(c *spec.Compiled) { c.JobBudget.Tokens = 13 })
	require.NoError(t, err)
	assert.Equal(t, batch.OK, r.Status, "an answer counts even if its call exceeds the budget")
}

func TestOutcomes(t *testing.T) {
	for name, c := range map[string]struct {
		script []reply
		change func(*spec.Compiled)
		output string
		fails  batch.ErrorType
		turns  int
	}{
		"answer at once":                     {script: []reply{says(`{"a":1}`)}, output: `{"a":1}`, turns: 1},
		"tool and answer":                    {script: []reply{asks(`{"k":1}`), says(`{"a":1}`)}, output: `{"a":1}`, turns: 2},
		"JSON in a fence":                    {script: []reply{says("Sure:\n```json\n{\"a\": 12345678901234567890}\n```")}, output: `{"a":12345678901234567890}`, turns: 1},
		"JSON in prose":                      {script: []reply{says(`The answer is {"a":2}, I think.`)}, output: `{"a":2}`, turns: 1},
		"JSON that needs mending":            {script: []reply{says(`{'a': 3,}`)}, output: `{"a":3}`, turns: 1},
		"after thinking":                     {script: []reply{says(`<think>{"a":9}</think>{"a":4}`)}, output: `{"a":4}`, turns: 1},
		"repair turn":                        {script: []reply{says(`{"b":1}`), says(`{"a":5}`)}, output: `{"a":5}`, turns: 2},
		"invalid after repair":               {script: []reply{says(`{"b":1}`), says(`no`)}, fails: batch.OutputInvalid, turns: 2},
		"cut before the schema was enforced": {script: []reply{cutAt("well, "), says(`{"a":6}`)}, output: `{"a":6}`, turns: 2},
		"cut under the schema":               {script: []reply{says("x"), cutAt(`{"a"`)}, fails: batch.OutputTruncated, turns: 2},
		"turns used up":                      {script: []reply{asks(`{}`), asks(`{}`), asks(`{}`), asks(`{}`)}, fails: batch.TurnsExhausted, turns: 4},
		"transient faults":                   {script: []reply{fails(backend.Transient), fails(backend.Overloaded), says(`{"a":7}`)}, output: `{"a":7}`, turns: 1},
		"faults without end":                 {script: []reply{fails(backend.Transient), fails(backend.Transient), fails(backend.Transient)}, fails: batch.BackendUnavailable},
		"refused for good":                   {script: []reply{fails(backend.Auth)}, fails: batch.BackendRejected},
		"too long":                           {script: []reply{fails(backend.ContextTooLong)}, fails: batch.Oversized},
		"free text":                          {script: []reply{says("hello <b>")}, change: func(c *spec.Compiled) { c.Schema, c.Tools = nil, nil }, output: `{"text":"hello <b>"}`, turns: 1},
		"bad input":                          {change: func(c *spec.Compiled) { c.Task = "do {y}" }, fails: batch.BadInput},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &stage{script: c.script}
				r, err := s.run(t, c.change)
				require.NoError(t, err)
				assert.Equal(t, c.turns, r.Turns)
				assert.Empty(t, s.script, "unused replies")
				if c.fails != "" {
					require.NotNil(t, r.Error, "output %s", r.Output)
					assert.Equal(t, c.fails, r.Error.Type)
					assert.Equal(t, batch.StatusFailed, r.Status)
					return
				}
				require.Nil(t, r.Error)
				assert.Equal(t, c.output, string(r.Output))
			})
		})
	}
}

// TestToolCallsOfCutTurnAreNotRun: no call of a turn that ended with "length" runs, even if it looks complete.
func TestToolCallsOfCutTurnAreNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cutCall := asks(`{"k":1}`)
		cutCall.resp.Finish = backend.FinishLength
		s := &stage{script: []reply{cutCall}}
		r, err := s.run(t, nil)
		require.NoError(t, err)
		assert.Equal(t, batch.OutputTruncated, r.Error.Type)
		assert.Zero(t, s.toolRuns)
	})
}

// TestResumeIsByteIdentical ends an agent after each turn and resumes the job: every request is the same as without the
// interruption.
func TestResumeIsByteIdentical(t *testing.T) {
	script := func() []reply {
		return []reply{asks(`{"k":"<1>"}`), asks(`{"k":`), says("not yet"), says(`{"a":1}`)}
	}
	synctest.Test(t, func(t *testing.T) {
		whole := &stage{script: script()}
		want, err := whole.run(t, nil)
		require.NoError(t, err)
		require.Len(t, whole.journal, 3)
		for k := range whole.journal {
			later := &stage{script: script()[k+1:], journal: append([][]byte(nil), whole.journal[:k+1]...)}
			got, err := later.run(t, nil)
			require.NoError(t, err)
			assert.Equal(t, whole.requests[k+1:], later.requests, "after turn %d", k+1)
			assert.Equal(t, want.Usage, got.Usage)
			assert.Equal(t, want.Tools, got.Tools)
			assert.Equal(t, want.Turns, got.Turns)
		}
	})
}

func TestTranscript(t *testing.T) {
	t.Parallel()
	keep := func(c *spec.Compiled) { c.Transcripts = true }
	read := func(res batch.Result) (turns []Turn) {
		require.NoError(t, json.Unmarshal(res.Transcript, &turns))
		return turns
	}
	shared := func(context.Context, toolpool.Call) (toolpool.Result, error) {
		return toolpool.Result{Content: "seen", Source: toolpool.FromCluster, By: "node-2"}, nil
	}
	s := &stage{script: []reply{asks(`{"q":1}`), says(`{"a":1}`)}, tool: shared}
	res, err := s.run(t, keep)
	require.NoError(t, err)
	turns := read(res)
	require.Len(t, turns, 2)
	assert.Equal(t, []CallSource{{From: toolpool.FromCluster, By: "node-2"}}, turns[0].Sources)
	assert.Equal(t, "seen", turns[0].Tools[0].Content)
	assert.JSONEq(t, `{"a":1}`, turns[1].Assistant.Content)

	// Another attempt resumes from the complete journal.
	later := &stage{script: []reply{says(`{"a":1}`)}, journal: s.journal}
	again, err := later.run(t, keep)
	require.NoError(t, err)
	assert.Equal(t, turns, read(again))

	res, err = (&stage{script: []reply{asks(`{"q":1}`), cutAt("and so on"), cutAt("and so on")}}).run(t, keep)
	require.NoError(t, err)
	assert.Equal(t, batch.StatusFailed, res.Status)
	assert.NotEmpty(t, read(res), "a failed job has a transcript, too")

	res, err = (&stage{script: []reply{says(`{"a":1}`)}}).run(t, nil)
	require.NoError(t, err)
	assert.Nil(t, res.Transcript)
}

// TestRequestNeverHasFormatAndTools: a server drops the tool calls if a request has both.
func TestRequestNeverHasFormatAndTools(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{script: []reply{asks(`{}`), says("no"), says(`{"a":1}`)}}
		_, err := s.run(t, nil)
		require.NoError(t, err)
		for i, r := range s.requests {
			mayCall := len(r.Tools) > 0 && r.ToolChoice != backend.ToolChoiceNone
			assert.False(t, mayCall && r.Schema != nil, "request %d", i)
			assert.Equal(t, i == 2, r.Schema != nil, "request %d", i)
		}
	})
}

func TestResultNamesDroppedFields(t *testing.T) {
	first, last := asks(`{}`), says(`{"a":1}`)
	first.resp.LeftOut = []string{"temperature"}
	last.resp.LeftOut = []string{"seed", "temperature"}
	s := &stage{script: []reply{first, last}}
	res, err := s.run(t, nil)
	require.NoError(t, err)
	assert.Equal(t, []string{"seed", "temperature"}, res.LeftOut)

	res, err = (&stage{script: []reply{says(`{"a":1}`)}, journal: s.journal}).run(t, nil)
	require.NoError(t, err)
	assert.Equal(t, []string{"temperature"}, res.LeftOut, "includes the turns of an earlier attempt")
}

func TestRefusalErrorHoldsModelText(t *testing.T) {
	refusal := says("I will not.")
	refusal.resp.Finish, refusal.resp.Refusal = backend.FinishRefused, "I will not."
	res, err := (&stage{script: []reply{refusal}}).run(t, nil)
	require.NoError(t, err)
	require.NotNil(t, res.Error)
	assert.Equal(t, batch.BackendRejected, res.Error.Type)
	assert.Equal(t, "the model refused to answer: I will not.", res.Error.Message)
	assert.Equal(t, "I will not.", res.Error.Raw)
}

func TestWindowIsLearnedFromRefusals(t *testing.T) {
	p := &Definition{window: 9000}
	for _, step := range [][2]int{{0, 9000}, {4000, 4000}, {5000, 4000}, {-1, 4000}, {3000, 3000}} {
		p.learn(step[0])
		assert.Equal(t, step[1], p.contextWindow())
	}
	unlisted := &Definition{}
	unlisted.learn(2000)
	assert.Equal(t, 2000, unlisted.contextWindow())
}

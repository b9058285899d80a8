package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// book is an effect log in memory.
type book struct {
	turns   map[int][]byte
	intents map[string]bool
	settled map[string]toolpool.Settled
	parked  map[string]bool
	fail    error
}

func newBook() *book {
	return &book{turns: map[int][]byte{}, intents: map[string]bool{}, settled: map[string]toolpool.Settled{}, parked: map[string]bool{}}
}

func (b *book) OpenTurn(_ context.Context, turn int, data []byte) error {
	b.turns[turn] = data
	return b.fail
}

func (b *book) OpenedTurn(_ context.Context, turn int) ([]byte, error) { return b.turns[turn], b.fail }

func (b *book) Intend(_ context.Context, turn, index int, _ toolpool.Intent) (toolpool.Earlier, error) {
	k := b.IdempotencyKey(turn, index)
	e := toolpool.Earlier{Intended: b.intents[k]}
	if o, ok := b.settled[k]; ok {
		e.Outcome = &o
	}
	b.intents[k] = true
	return e, b.fail
}

func (b *book) Settle(_ context.Context, turn, index int, o toolpool.Settled) error {
	b.settled[b.IdempotencyKey(turn, index)] = o
	return b.fail
}

func (b *book) Park(_ context.Context, turn, index int) error {
	b.parked[b.IdempotencyKey(turn, index)] = true
	return b.fail
}

func (b *book) IdempotencyKey(turn, index int) string { return fmt.Sprintf("%d.%d", turn, index) }

// effectStage is an agent with a tool, send, that has side effects, on a real pool.
type effectStage struct {
	stage
	book *book
	pool *toolpool.Pool
	sent []string
	die  bool // the worker dies inside the tool

	preload []spec.Preload
}

var errDied = errors.New("the worker died")

func newEffectStage(t *testing.T, policy toolpool.OnUnknown) *effectStage {
	t.Helper()
	s := &effectStage{book: newBook()}
	pool, err := toolpool.New(toolpool.Config{})
	require.NoError(t, err)
	require.NoError(t, pool.Register(toolpool.Tool{
		Name: "send", Description: "send", Parameters: json.RawMessage(`{"type":"object"}`), Share: toolpool.Effect, OnUnknown: policy,
		Run: func(_ context.Context, args json.RawMessage) (string, error) {
			s.sent = append(s.sent, string(args))
			return "sent", nil
		},
	}))
	s.pool = pool
	return s
}

// run runs an attempt. With die, it dies between the tool's effect and the record of its outcome.
func (s *effectStage) run(t *testing.T) (batch.Result, error) {
	t.Helper()
	compiled := &spec.Compiled{Name: "t", Task: "do it", Tools: []string{"send"}, MaxTurns: 4, MaxRetries: 1, Preload: s.preload}
	var tools []toolpool.Tool
	for _, name := range compiled.Needs() {
		tool, _ := s.pool.Lookup(name)
		tools = append(tools, tool)
	}
	p, err := Compile(compiled, tools, backend.Model{ID: "m"})
	require.NoError(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	s.tool = func(_ context.Context, c toolpool.Call) (toolpool.Result, error) {
		if s.die && c.Name == "send" {
			_, err := c.EffectLog.Intend(ctx, c.Turn, c.Index, toolpool.Intent{Tool: c.Name})
			require.NoError(t, err)
			s.sent = append(s.sent, c.Arguments)
			cancel(errDied)
			return toolpool.Result{}, errDied
		}
		return s.pool.Call(ctx, c)
	}
	return NewRunner(Config{Worker: "w"}).Run(ctx, p, Job{
		ID: batch.Job{Batch: "b_1", Index: 7}, Attempt: 1, Payload: []byte(`{"in":{}}`), Turns: s.journal,
	}, Session{Model: s, Slots: s, Tools: s, Effects: s.book, Journal: appends(func(_ context.Context, turn int, data []byte) error {
		require.Len(t, s.journal, turn-1)
		s.journal = append(s.journal, data)
		return nil
	})})
}

func sends(arguments string) reply {
	r := asks(arguments)
	r.resp.Message.ToolCalls[0].Name = "send"
	return r
}

func TestTakeoverRepeatsTheSameCalls(t *testing.T) {
	t.Parallel()
	s := newEffectStage(t, toolpool.Repeat)
	s.script = []reply{sends(`{"to":"Ada"}`)}
	s.die = true
	_, err := s.run(t)
	require.ErrorIs(t, err, errDied)
	assert.Empty(t, s.journal)

	s.die = false
	s.script = []reply{says("done")} // the script has no tool calls: the recorded ones are used
	r, err := s.run(t)
	require.NoError(t, err)
	assert.Equal(t, batch.OK, r.Status)
	assert.Equal(t, []string{`{"to":"Ada"}`, `{"to":"Ada"}`}, s.sent, "retry runs it again, with the same arguments")
	assert.Equal(t, 2, r.Turns)
	assert.EqualValues(t, 20, r.Usage.PromptTokens, "the turn that was left open counts once")
	assert.Len(t, s.requests, 2)
}

func TestSettledEffectIsNotRepeatedAfterTakeover(t *testing.T) {
	t.Parallel()
	s := newEffectStage(t, toolpool.FailJob)
	s.script = []reply{sends(`{"to":"Ada"}`), says("done")}
	_, err := s.run(t)
	require.NoError(t, err)
	require.Len(t, s.sent, 1)

	s.journal = nil // the worker died before it could journal the turn
	s.script = []reply{says("done")}
	r, err := s.run(t)
	require.NoError(t, err)
	assert.Equal(t, batch.OK, r.Status)
	assert.Len(t, s.sent, 1)
	assert.Zero(t, r.Tools.Executed)
	assert.Contains(t, string(s.journal[0]), `"sent"`)
}

func TestUnknownEffectFailsJob(t *testing.T) {
	t.Parallel()
	for policy, says := range map[toolpool.OnUnknown]string{
		toolpool.FailJob: "`coordinator retry` starts the job afresh",
		toolpool.Ask:     "coordinator resolve b_1 job-7 --outcome",
	} {
		s := newEffectStage(t, policy)
		s.script = []reply{sends(`{}`)}
		s.die = true
		_, err := s.run(t)
		require.ErrorIs(t, err, errDied)
		s.die = false
		r, err := s.run(t)
		require.NoError(t, err)
		require.NotNil(t, r.Error)
		assert.Equal(t, batch.EffectUnknown, r.Error.Type)
		assert.False(t, r.Error.Retryable)
		assert.Contains(t, r.Error.Message, says)
		assert.Len(t, s.sent, 1)
		assert.Equal(t, policy == toolpool.Ask, s.book.parked["1.0"])
	}
}

func TestFencedEffectLogEndsAttempt(t *testing.T) {
	t.Parallel()
	s := newEffectStage(t, toolpool.FailJob)
	s.book.fail = errors.New("fenced")
	s.script = []reply{sends(`{}`)}
	_, err := s.run(t)
	assert.ErrorIs(t, err, s.book.fail)
	assert.Empty(t, s.sent)
}

package toolpool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// book is an effect log in memory.
type book struct {
	intents map[string]Intent
	settled map[string]Settled
	parked  map[string]bool
	fail    error
}

func newBook() *book {
	return &book{intents: map[string]Intent{}, settled: map[string]Settled{}, parked: map[string]bool{}}
}

func (b *book) Intend(_ context.Context, turn, index int, i Intent) (Earlier, error) {
	if b.fail != nil {
		return Earlier{}, b.fail
	}
	place := b.IdempotencyKey(turn, index)
	_, known := b.intents[place]
	b.intents[place] = i
	e := Earlier{Intended: known}
	if o, ok := b.settled[place]; ok {
		e.Outcome = &o
	}
	return e, nil
}

func (b *book) Settle(ctx context.Context, turn, index int, o Settled) error {
	if b.fail != nil {
		return b.fail
	}
	b.settled[b.IdempotencyKey(turn, index)] = o
	return ctx.Err()
}

func (b *book) Park(_ context.Context, turn, index int) error {
	b.parked[b.IdempotencyKey(turn, index)] = true
	return nil
}

func (b *book) IdempotencyKey(turn, index int) string { return fmt.Sprintf("%d.%d", turn, index) }

func effectCall(t *testing.T, p *Pool, b *book, turn int) (Result, error) {
	t.Helper()
	return p.Call(t.Context(), Call{Name: "t", Arguments: `{"to": "Ada"}`, EffectLog: b, Turn: turn, Index: 1})
}

func TestEffectIsRecordedBeforeAndAfterItsRun(t *testing.T) {
	t.Parallel()
	b, runs := newBook(), 0
	p := newPool(t, tool(Effect, func(ctx context.Context, _ json.RawMessage) (string, error) {
		runs++
		assert.Equal(t, Intent{Tool: "t", Arguments: json.RawMessage(`{"to":"Ada"}`)}, b.intents["2.1"], "before")
		assert.Empty(t, b.settled)
		assert.Equal(t, "2.1", IdempotencyKey(ctx))
		return "sent", nil
	}))
	r, err := effectCall(t, p, b, 2)
	require.NoError(t, err)
	assert.Equal(t, Result{Content: "sent", Executed: true, Source: FromTool}, r)
	assert.Equal(t, Settled{Content: "sent"}, b.settled["2.1"])
	r, err = effectCall(t, p, b, 2)
	require.NoError(t, err)
	assert.Equal(t, Result{Content: "sent", Source: FromEffectLog}, r, "an attempt that takes over gets the outcome")
	assert.Equal(t, 1, runs)
	assert.Empty(t, IdempotencyKey(t.Context()))
}

func TestUnknownEffectFollowsItsPolicy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		policy OnUnknown
		runs   int
		asked  bool
	}{{"", 0, false}, {FailJob, 0, false}, {Ask, 0, true}, {Repeat, 1, false}} {
		b, runs := newBook(), 0
		b.intents["3.1"] = Intent{Tool: "t"}
		tl := tool(Effect, func(context.Context, json.RawMessage) (string, error) { runs++; return "sent", nil })
		tl.OnUnknown = c.policy
		p := newPool(t, tl)
		_, err := effectCall(t, p, b, 3)
		assert.Equal(t, c.runs, runs, c.policy)
		assert.Equal(t, c.asked, b.parked["3.1"])
		if c.runs == 1 {
			require.NoError(t, err)
			continue
		}
		unknown, ok := errors.AsType[*UnknownEffectError](err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, UnknownEffectError{Tool: "t", Turn: 3, Index: 1, Asked: c.asked}, *unknown)
	}
}

func TestFencedEffectLogFailsTheCall(t *testing.T) {
	t.Parallel()
	b, runs := newBook(), 0
	b.fail = errors.New("fenced")
	p := newPool(t, tool(Effect, func(context.Context, json.RawMessage) (string, error) { runs++; return "sent", nil }))
	_, err := effectCall(t, p, b, 1)
	assert.ErrorIs(t, err, b.fail)
	assert.Zero(t, runs, "no tool runs without its intent")
}

func TestInterruptedEffectStaysUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, runs := newBook(), 0
		p := newPool(t, slow(Effect, &runs, nil))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := p.Call(ctx, Call{Name: "t", EffectLog: b, Turn: 1})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Contains(t, b.intents, "1.0")
		assert.Empty(t, b.settled)

		// After the tool's own timeout the model gets a failed result and can check the effect.
		r, err := p.Call(t.Context(), Call{Name: "t", EffectLog: b, Turn: 2, Timeout: time.Second})
		require.NoError(t, err)
		assert.Contains(t, r.Content, "may or may not")
		assert.True(t, b.settled["2.0"].Failed)
	})
}

func TestEffectIsNotRetried(t *testing.T) {
	t.Parallel()
	runs := 0
	p := newPool(t, tool(Effect, func(context.Context, json.RawMessage) (string, error) {
		runs++
		return "", Transient(errors.New("busy"), 0)
	}))
	assert.True(t, call(t, p, "t", "").Failed)
	assert.Equal(t, 1, runs)
}

func TestEffectThatBreaksDownMayHaveHappened(t *testing.T) {
	t.Parallel()
	for share, want := range map[Share]bool{Effect: true, Pure: false} {
		p := newPool(t, tool(share, func(context.Context, json.RawMessage) (string, error) { panic("after the mail was sent") }))
		assert.Equal(t, want, strings.Contains(call(t, p, "t", "").Content, "may or may not have done"))
	}
}

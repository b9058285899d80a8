package toolpool

import (
	"context"
	"encoding/json"
	"fmt"
)

// OnUnknown is the policy for a call with unknown side effects: the effect log has its intent but no outcome, because the
// worker died in between.
type OnUnknown string

// The policies.
const (
	FailJob OnUnknown = "fail"  // the job fails as EffectUnknown
	Repeat  OnUnknown = "retry" // the tool runs again with the same idempotency key
	Ask     OnUnknown = "ask"   // the job waits until a person records what happened
)

// EffectLog records the calls with side effects of one job, by turn and index within the turn. Its writes are fenced: a
// write by an attempt that lost its lease fails. While the store is unreachable, an effect log retries until ctx ends.
type EffectLog interface {
	// Intend records that the call is about to run, and returns the record of an earlier attempt at the same turn and index.
	Intend(ctx context.Context, turn, index int, intent Intent) (Earlier, error)
	// Settle records the outcome of the call.
	Settle(ctx context.Context, turn, index int, o Settled) error
	// Park records that a person has to decide the outcome of the call.
	Park(ctx context.Context, turn, index int) error
	// IdempotencyKey returns the call's unique key. Every attempt of the call gets the same key.
	IdempotencyKey(turn, index int) string
}

// Intent is the record that precedes a call. Its JSON form is stored.
type Intent struct {
	Tool      string          `json:"tool"`
	Arguments json.RawMessage `json:"arguments"`
}

// Settled is the outcome of a call. Its JSON form is stored.
type Settled struct {
	Content string `json:"content"`
	Failed  bool   `json:"failed,omitempty"`
}

// Earlier is the previous record of a call. Intended without Outcome is the unknown case.
type Earlier struct {
	Intended bool
	Outcome  *Settled
}

// UnknownEffectError reports a call whose side effects are unknown.
type UnknownEffectError struct {
	Tool        string
	Turn, Index int
	Asked       bool // the call is parked: a person can record what happened
}

func (e *UnknownEffectError) Error() string {
	return fmt.Sprintf("a worker died while %s ran (turn %d, call %d), and it is not known whether it had its effect", e.Tool, e.Turn, e.Index)
}

type idempotencyKey struct{}

// IdempotencyKey returns the unique key of an effect tool's call, from the ctx of Run. Every attempt of the call gets
// the same key, so that a service can recognize a repeated request. It returns "" outside of a job.
func IdempotencyKey(ctx context.Context) string {
	k, _ := ctx.Value(idempotencyKey{}).(string)
	return k
}

// effect runs a call with side effects for its one caller, between an intent and an outcome.
func (p *Pool) effect(ctx context.Context, r *request) (outcome, bool, error) {
	c := r.call
	if c.EffectLog == nil {
		out := p.work(ctx, &flight{rank: r.rank}, r)
		out.source = FromTool
		return out, true, r.ended(ctx)
	}
	earlier, err := c.EffectLog.Intend(ctx, c.Turn, c.Index, Intent{Tool: r.tool.Name, Arguments: r.args})
	switch {
	case err != nil:
		return outcome{}, false, r.refused(ctx, err)
	case earlier.Outcome != nil:
		return outcome{content: earlier.Outcome.Content, failed: earlier.Outcome.Failed, source: FromEffectLog}, false, nil
	case earlier.Intended && r.tool.OnUnknown != Repeat:
		unknown := &UnknownEffectError{Tool: r.tool.Name, Turn: c.Turn, Index: c.Index, Asked: r.tool.OnUnknown == Ask}
		if unknown.Asked {
			if err := c.EffectLog.Park(ctx, c.Turn, c.Index); err != nil {
				return outcome{}, false, r.refused(ctx, err)
			}
		}
		return outcome{}, false, unknown
	}
	ctx = context.WithValue(ctx, idempotencyKey{}, c.EffectLog.IdempotencyKey(c.Turn, c.Index))
	out := p.work(ctx, &flight{rank: r.rank}, r)
	// The caller left while the tool ran. The outcome is unknown, so the intent stays without one.
	if err := r.ended(ctx); err != nil {
		return outcome{}, false, err
	}
	if err := c.EffectLog.Settle(ctx, c.Turn, c.Index, Settled{Content: out.content, Failed: out.failed}); err != nil {
		return outcome{}, false, r.refused(ctx, err)
	}
	out.source = FromTool
	return out, true, nil
}

// refused wraps the error of a write to the effect log. When ctx is done, it returns callError instead.
func (r *request) refused(ctx context.Context, err error) error {
	if ended := r.ended(ctx); ended != nil {
		return ended
	}
	return fmt.Errorf("call tool %s: %w", r.tool.Name, err)
}

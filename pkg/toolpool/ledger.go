package toolpool

import (
	"context"
	"encoding/json"
	"fmt"
)

// OnUnknown says what to do about a call with side effects of which nobody knows whether it had them: an intent was
// written down, and no outcome, because the worker died in between.
type OnUnknown string

// The policies.
const (
	FailJob OnUnknown = "fail"  // the job fails as EffectUnknown
	Repeat  OnUnknown = "retry" // the tool runs again with the same idempotency key
	Ask     OnUnknown = "ask"   // the job is set aside until somebody says what happened
)

// Ledger remembers the calls with side effects of one job, by turn and index within the turn. Its writes are fenced: one
// by an attempt that has lost its lease fails. It keeps trying while its store is away, until ctx ends.
type Ledger interface {
	// Intend writes down that the call is about to run, and returns what an earlier attempt left at the same place.
	Intend(ctx context.Context, turn, index int, intent Intent) (Earlier, error)
	// Settle writes down how the call ended.
	Settle(ctx context.Context, turn, index int, o Settled) error
	// Park writes down that somebody has to say how the call ended.
	Park(ctx context.Context, turn, index int) error
	// IdempotencyKey names the call: the same for every attempt at it, and for no other call anywhere.
	IdempotencyKey(turn, index int) string
}

// Intent is what is written down before a call. Its JSON form is kept.
type Intent struct {
	Tool      string          `json:"tool"`
	Arguments json.RawMessage `json:"arguments"`
}

// Settled is how a call ended. Its JSON form is kept.
type Settled struct {
	Content string `json:"content"`
	Failed  bool   `json:"failed,omitempty"`
}

// Earlier is what a ledger knew before. Intended without Outcome is the unknown case.
type Earlier struct {
	Intended bool
	Outcome  *Settled
}

// UnknownEffectError says that a call with side effects may or may not have had them.
type UnknownEffectError struct {
	Tool        string
	Turn, Index int
	Asked       bool // the call is parked: somebody can say what happened
}

func (e *UnknownEffectError) Error() string {
	return fmt.Sprintf("a worker died while %s ran (turn %d, call %d), and it is not known whether it had its effect", e.Tool, e.Turn, e.Index)
}

type idempotencyKey struct{}

// IdempotencyKey names the call of an effect tool whose Run got ctx: the same for every attempt at it, and for no other
// call. A service that knows such keys can tell a repeated request from a new one. "" outside of a job.
func IdempotencyKey(ctx context.Context) string {
	k, _ := ctx.Value(idempotencyKey{}).(string)
	return k
}

// effect runs a call with side effects for its one caller, between an intent and an outcome.
func (p *Pool) effect(ctx context.Context, r *request) (outcome, bool, error) {
	c := r.call
	if c.Ledger == nil {
		out := p.work(ctx, &flight{rank: r.rank}, r)
		out.source = FromTool
		return out, true, r.ended(ctx)
	}
	earlier, err := c.Ledger.Intend(ctx, c.Turn, c.Index, Intent{Tool: r.tool.Name, Arguments: r.args})
	switch {
	case err != nil:
		return outcome{}, false, r.refused(ctx, err)
	case earlier.Outcome != nil:
		return outcome{content: earlier.Outcome.Content, failed: earlier.Outcome.Failed, source: FromLedger}, false, nil
	case earlier.Intended && r.tool.OnUnknown != Repeat:
		unknown := &UnknownEffectError{Tool: r.tool.Name, Turn: c.Turn, Index: c.Index, Asked: r.tool.OnUnknown == Ask}
		if unknown.Asked {
			if err := c.Ledger.Park(ctx, c.Turn, c.Index); err != nil {
				return outcome{}, false, r.refused(ctx, err)
			}
		}
		return outcome{}, false, unknown
	}
	ctx = context.WithValue(ctx, idempotencyKey{}, c.Ledger.IdempotencyKey(c.Turn, c.Index))
	out := p.work(ctx, &flight{rank: r.rank}, r)
	// The caller left while the tool ran, so nobody knows what it did: the intent stays without an outcome.
	if err := r.ended(ctx); err != nil {
		return outcome{}, false, err
	}
	if err := c.Ledger.Settle(ctx, c.Turn, c.Index, Settled{Content: out.content, Failed: out.failed}); err != nil {
		return outcome{}, false, r.refused(ctx, err)
	}
	out.source = FromTool
	return out, true, nil
}

// refused says why a ledger did not take a write.
func (r *request) refused(ctx context.Context, err error) error {
	if ended := r.ended(ctx); ended != nil {
		return ended
	}
	return fmt.Errorf("call tool %s: %w", r.tool.Name, err)
}

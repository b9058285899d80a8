package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// effects is the ledger of the calls with side effects of one attempt. It implements [agent.Effects]. Every write
// carries the attempt's fence and keeps trying during an outage of Redis.
type effects struct {
	w *Worker
	a *attempt
}

func (e effects) until(ctx context.Context, op func() error) error {
	err := e.w.cfg.Store.UntilKnown(ctx, op)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (e effects) OpenTurn(ctx context.Context, turn int, data []byte) error {
	return e.until(ctx, func() error { return e.w.cfg.Store.OpenTurn(ctx, e.a.lease, turn, data) })
}

func (e effects) OpenedTurn(ctx context.Context, turn int) (data []byte, err error) {
	err = e.until(ctx, func() (err error) {
		data, err = e.w.cfg.Store.OpenedTurn(ctx, e.a.lease, turn)
		return err
	})
	return data, err
}

func (e effects) Intend(ctx context.Context, turn, index int, intent toolpool.Intent) (earlier toolpool.Earlier, err error) {
	data, err := json.Marshal(intent)
	if err != nil {
		return earlier, fmt.Errorf("encode the intent of a call: %w", err)
	}
	var outcome []byte
	err = e.until(ctx, func() (err error) {
		earlier.Intended, outcome, err = e.w.cfg.Store.Intend(ctx, e.a.lease, statestore.CallRef{Turn: turn, Call: index}, data)
		return err
	})
	if err != nil || outcome == nil {
		return earlier, err
	}
	earlier.Outcome = &toolpool.Settled{}
	if err := json.Unmarshal(outcome, earlier.Outcome); err != nil {
		return earlier, fmt.Errorf("read the outcome of an earlier call: %w", err)
	}
	return earlier, nil
}

func (e effects) Settle(ctx context.Context, turn, index int, o toolpool.Settled) error {
	data, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode the outcome of a call: %w", err)
	}
	return e.until(ctx, func() error {
		return e.w.cfg.Store.Settle(ctx, e.a.lease, statestore.CallRef{Turn: turn, Call: index}, data)
	})
}

func (e effects) Park(ctx context.Context, turn, index int) error {
	e.a.parked.Store(true)
	return e.until(ctx, func() error {
		return e.w.cfg.Store.Park(ctx, e.a.lease, statestore.CallRef{Turn: turn, Call: index})
	})
}

// IdempotencyKey implements [toolpool.EffectLog]. The key reveals nothing about the batch to services.
func (e effects) IdempotencyKey(turn, index int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d.%d", e.a.lease.Job, turn, index))
	return hex.EncodeToString(sum[:16])
}

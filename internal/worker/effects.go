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

// The methods of this file implement [agent.Effects]: the effect log of the job. Every write carries the fence of the lease.

// OpenTurn implements [agent.Effects].
func (s *session) OpenTurn(ctx context.Context, turn int, data []byte) error {
	return s.patient.OpenTurn(ctx, s.lease, turn, data)
}

// OpenedTurn implements [agent.Effects].
func (s *session) OpenedTurn(ctx context.Context, turn int) (data []byte, err error) {
	return s.patient.OpenedTurn(ctx, s.lease, turn)
}

// Intend implements [toolpool.EffectLog].
func (s *session) Intend(ctx context.Context, turn, index int, intent toolpool.Intent) (earlier toolpool.Earlier, err error) {
	data, err := json.Marshal(intent)
	if err != nil {
		return earlier, fmt.Errorf("encode the intent of a call: %w", err)
	}
	var outcome []byte
	earlier.Intended, outcome, err = s.patient.Intend(ctx, s.lease, statestore.CallRef{Turn: turn, Call: index}, data)
	if err != nil || outcome == nil {
		return earlier, err
	}
	earlier.Outcome = &toolpool.Settled{}
	if err := json.Unmarshal(outcome, earlier.Outcome); err != nil {
		return earlier, fmt.Errorf("read the outcome of an earlier call: %w", err)
	}
	return earlier, nil
}

// Settle implements [toolpool.EffectLog].
func (s *session) Settle(ctx context.Context, turn, index int, o toolpool.Settled) error {
	data, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode the outcome of a call: %w", err)
	}
	return s.patient.Settle(ctx, s.lease, statestore.CallRef{Turn: turn, Call: index}, data)
}

// Park implements [toolpool.EffectLog].
func (s *session) Park(ctx context.Context, turn, index int) error {
	s.parked.Store(true)
	return s.patient.Park(ctx, s.lease, statestore.CallRef{Turn: turn, Call: index})
}

// IdempotencyKey implements [toolpool.EffectLog]. The key reveals nothing about the batch to services.
func (s *session) IdempotencyKey(turn, index int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d.%d", s.lease.Job, turn, index))
	return hex.EncodeToString(sum[:16])
}

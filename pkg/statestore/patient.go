package statestore

import (
	"context"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Patient is a [Store] whose methods wait through outages of Redis. A method repeats its call as [Store.UntilKnown] does, until
// its outcome is known or ctx ends. If ctx ends, the error is context.Cause(ctx). Otherwise the results and errors are those of
// the store's method with the same name. Safe for concurrent use.
//
// Every method of the store may be repeated, except [Store.Claim]: a claim whose reply was lost has leased jobs that its caller
// does not know. Patient therefore has no Claim. A caller that must not wait, such as a heartbeat, uses the store itself.
type Patient struct {
	store *Store
	after func(err error)
}

// Patient returns the store as one that waits. after is called with the outcome of every try, for example to report an outage;
// nil is skipped.
func (s *Store) Patient(after func(err error)) *Patient { return &Patient{store: s, after: after} }

// untilKnown repeats op until its outcome is known or ctx ends.
func (p *Patient) untilKnown(ctx context.Context, op func() error) error {
	err := p.store.UntilKnown(ctx, func() error {
		err := op()
		if p.after != nil {
			p.after(err)
		}
		return err
	})
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// valueOf repeats op until its outcome is known or ctx ends, and returns its value.
func valueOf[T any](ctx context.Context, p *Patient, op func() (T, error)) (value T, err error) {
	err = p.untilKnown(ctx, func() (err error) {
		value, err = op()
		return err
	})
	return value, err
}

// Bind is [Store.Bind].
func (p *Patient) Bind(ctx context.Context, id batch.ID, model string, anyModel bool) (bound string, err error) {
	return valueOf(ctx, p, func() (string, error) { return p.store.Bind(ctx, id, model, anyModel) })
}

// CheckpointAll is [Store.CheckpointAll]. Before each try it calls turns for the turns to append; without turns it returns.
func (p *Patient) CheckpointAll(ctx context.Context, id batch.ID, turns func() []JournalTurn) ([]error, error) {
	return valueOf(ctx, p, func() ([]error, error) {
		now := turns()
		if len(now) == 0 {
			return nil, nil
		}
		return p.store.CheckpointAll(ctx, id, now)
	})
}

// Release is [Store.Release].
func (p *Patient) Release(ctx context.Context, id batch.ID, leases []batch.Lease) error {
	return p.untilKnown(ctx, func() error { return p.store.Release(ctx, id, leases) })
}

// Finish is [Store.Finish] without the batch's phase.
func (p *Patient) Finish(ctx context.Context, id batch.ID, done []Completion) ([]FinishOutcome, error) {
	return valueOf(ctx, p, func() ([]FinishOutcome, error) {
		_, outcomes, err := p.store.Finish(ctx, id, done)
		return outcomes, err
	})
}

// Spend is [Store.Spend].
func (p *Patient) Spend(ctx context.Context, id batch.ID, ended []EndedCall, wanted []WantedCall) (phase batch.Phase, grants []Grant, err error) {
	err = p.untilKnown(ctx, func() (err error) {
		phase, grants, err = p.store.Spend(ctx, id, ended, wanted)
		return err
	})
	return phase, grants, err
}

// Results is [Store.Results].
func (p *Patient) Results(ctx context.Context, id batch.ID, after int64, n int) ([]Entry, error) {
	return valueOf(ctx, p, func() ([]Entry, error) { return p.store.Results(ctx, id, after, n) })
}

// ResultsAt is [Store.ResultsAt].
func (p *Patient) ResultsAt(ctx context.Context, id batch.ID, cursors []int64) ([]*Entry, error) {
	return valueOf(ctx, p, func() ([]*Entry, error) { return p.store.ResultsAt(ctx, id, cursors) })
}

// OpenTurn is [Store.OpenTurn].
func (p *Patient) OpenTurn(ctx context.Context, l batch.Lease, turn int, data []byte) error {
	return p.untilKnown(ctx, func() error { return p.store.OpenTurn(ctx, l, turn, data) })
}

// OpenedTurn is [Store.OpenedTurn].
func (p *Patient) OpenedTurn(ctx context.Context, l batch.Lease, turn int) ([]byte, error) {
	return valueOf(ctx, p, func() ([]byte, error) { return p.store.OpenedTurn(ctx, l, turn) })
}

// Intend is [Store.Intend].
func (p *Patient) Intend(ctx context.Context, l batch.Lease, at CallRef, intent []byte) (known bool, outcome []byte, err error) {
	err = p.untilKnown(ctx, func() (err error) {
		known, outcome, err = p.store.Intend(ctx, l, at, intent)
		return err
	})
	return known, outcome, err
}

// Settle is [Store.Settle].
func (p *Patient) Settle(ctx context.Context, l batch.Lease, at CallRef, outcome []byte) error {
	return p.untilKnown(ctx, func() error { return p.store.Settle(ctx, l, at, outcome) })
}

// Park is [Store.Park].
func (p *Patient) Park(ctx context.Context, l batch.Lease, at CallRef) error {
	return p.untilKnown(ctx, func() error { return p.store.Park(ctx, l, at) })
}

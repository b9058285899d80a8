package operation

import (
	"context"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// SetBudget sets the budget of a batch and returns its new state. A paused batch resumes if the new budget exceeds its use.
// A zero field of b keeps the present value. A stage shares the budget of its batch.
func (c *Cluster) SetBudget(ctx context.Context, id batch.ID, b batch.Budget) (info batch.Info, err error) {
	if b.Tokens < 0 || b.USD < 0 {
		return info, fault.Usagef("a budget must not be negative")
	}
	if b.Tokens > spec.MaxBudgetTokens || !(b.USD <= spec.MaxBudgetUSD) { // also refuses NaN
		return info, fault.Usagef("a budget must be a number up to %s tokens or $%s", human.Count(spec.MaxBudgetTokens), human.Count(spec.MaxBudgetUSD))
	}
	if b == (batch.Budget{}) {
		return info, fault.Usagef("set how much the batch may use: tokens, dollars or both")
	}
	id = id.Whole()
	wait := c.wait()
	read := func() (err error) {
		info, err = c.Info(ctx, id)
		return err
	}
	if err := wait.Do(ctx, read); err != nil {
		return info, err
	}
	if b.USD > 0 && info.Prices == (batch.Prices{}) {
		return info, fault.Usagef("batch %s has no prices, so its cost is not known; set a budget in tokens", id)
	}
	if b.Tokens == 0 {
		b.Tokens = info.Budget.Tokens
	}
	if b.USD == 0 {
		b.USD = info.Budget.USD
	}
	if err := wait.Do(ctx, func() error { return c.Store.SetBudget(ctx, id, b) }); err != nil {
		return info, err
	}
	_ = c.Ring(ctx, statestore.Event{Kind: statestore.JobsWaiting, Batch: id})
	return info, wait.Do(ctx, read)
}

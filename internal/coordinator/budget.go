package coordinator

import (
	"context"
	"fmt"
	"strings"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// SetBudget sets the budget of a batch. A paused batch resumes if the new budget exceeds its use. A zero field of b
// keeps the present value. A stage shares the budget of its batch.
func SetBudget(ctx context.Context, s *statestore.Store, id batch.ID, b batch.Budget, con *Console) error {
	if b.Tokens < 0 || b.USD < 0 {
		return usagef("a budget must not be negative")
	}
	if b.Tokens > spec.MaxBudgetTokens || !(b.USD <= spec.MaxBudgetUSD) { // also refuses NaN
		return usagef("a budget must be a number up to %s tokens or $%s", count(spec.MaxBudgetTokens), count(spec.MaxBudgetUSD))
	}
	if b == (batch.Budget{}) {
		return usagef("set how much the batch may use: --tokens N, --usd X or both")
	}
	id = id.Whole()
	p := patience{store: s, say: con.Say}
	var info batch.Info
	read := func() (err error) {
		info, err = s.Info(ctx, id)
		return err
	}
	if err := p.do(ctx, read); err != nil {
		return err
	}
	if b.USD > 0 && info.Prices == (batch.Prices{}) {
		return usagef("batch %s has no prices, so its cost is not known; use --tokens", id)
	}
	if b.Tokens == 0 {
		b.Tokens = info.Budget.Tokens
	}
	if b.USD == 0 {
		b.USD = info.Budget.USD
	}
	if err := p.do(ctx, func() error { return s.SetBudget(ctx, id, b) }); err != nil {
		return err
	}
	_ = s.Ring(ctx, statestore.Event{Kind: statestore.JobsWaiting, Batch: id})
	if err := p.do(ctx, read); err != nil {
		return err
	}
	state := "it continues"
	switch {
	case info.Phase == batch.Done:
		state = "it is done, so this changes nothing"
	case info.Paused:
		state = "this is used up, so no model call starts"
	}
	con.Say(fmt.Sprintf("batch %s has used %s and may use %s: %s", id, spentOf(info), budgetOf(info.Budget), state))
	return nil
}

func budgetOf(b batch.Budget) string {
	var parts []string
	if b.Tokens > 0 {
		parts = append(parts, count(b.Tokens)+" tokens")
	}
	if b.USD > 0 {
		parts = append(parts, dollars(b.USD))
	}
	return strings.Join(parts, " or ")
}

func spentOf(i batch.Info) string {
	text := amount(i, i.Used)
	if i.Counts.Usage.Estimated {
		text += " (partly estimated)"
	}
	return text
}

// amount formats tokens, and their cost if it is known.
func amount(i batch.Info, b batch.Budget) string {
	text := count(b.Tokens) + " tokens"
	if i.Prices != (batch.Prices{}) || b.USD > 0 {
		text += ", " + dollars(b.USD)
	}
	return text
}

// BudgetLine formats a batch's use of its budget. It returns "" if the batch has no budget.
func BudgetLine(i batch.Info) string {
	if i.Budget == (batch.Budget{}) {
		return ""
	}
	reserved := ""
	if i.Reserved != (batch.Budget{}) {
		reserved = "; " + amount(i, i.Reserved) + " reserved by calls in flight"
	}
	return fmt.Sprintf("%s of %s used%s", spentOf(i), budgetOf(i.Budget), reserved)
}

// raise returns the command that raises the budget of a batch, with a flag for each limit that the batch has.
func raise(i batch.Info) string {
	var flags []string
	if i.Budget.Tokens > 0 || i.Budget.USD == 0 {
		flags = append(flags, "--tokens N")
	}
	if i.Budget.USD > 0 {
		flags = append(flags, "--usd X")
	}
	return fmt.Sprintf("coordinator budget %s %s", i.ID.Whole(), strings.Join(flags, " "))
}

// dollars formats an amount in dollars: with four digits below 1 dollar, otherwise with two.
func dollars(usd float64) string {
	if usd > 0 && usd < 1 {
		return fmt.Sprintf("$%.4f", usd)
	}
	return fmt.Sprintf("$%.2f", usd)
}

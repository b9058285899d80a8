package human

import (
	"fmt"
	"strings"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Budget formats a budget.
func Budget(b batch.Budget) string {
	var parts []string
	if b.Tokens > 0 {
		parts = append(parts, Count(b.Tokens)+" tokens")
	}
	if b.USD > 0 {
		parts = append(parts, Dollars(b.USD))
	}
	return strings.Join(parts, " or ")
}

// Spent formats what a batch has used of its budget.
func Spent(i batch.Info) string {
	text := Amount(i, i.Used)
	if i.Counts.Usage.Estimated {
		text += " (partly estimated)"
	}
	return text
}

// Amount formats tokens, and their cost if it is known.
func Amount(i batch.Info, b batch.Budget) string {
	text := Count(b.Tokens) + " tokens"
	if i.Prices != (batch.Prices{}) || b.USD > 0 {
		text += ", " + Dollars(b.USD)
	}
	return text
}

// Dollars formats an amount in dollars: with four digits below 1 dollar, otherwise with two.
func Dollars(usd float64) string {
	if usd > 0 && usd < 1 {
		return fmt.Sprintf("$%.4f", usd)
	}
	return fmt.Sprintf("$%.2f", usd)
}

// BudgetUse formats a batch's use of its budget. It returns "" if the batch has no budget.
func BudgetUse(i batch.Info) string {
	if i.Budget == (batch.Budget{}) {
		return ""
	}
	reserved := ""
	if i.Reserved != (batch.Budget{}) {
		reserved = "; " + Amount(i, i.Reserved) + " reserved by calls in flight"
	}
	return fmt.Sprintf("%s of %s used%s", Spent(i), Budget(i.Budget), reserved)
}

package coordinator

import (
	"github.com/batchagent/batchagent/internal/human"
)

// All commands format numbers and times with these functions.
var (
	count     = human.Count
	span      = human.Span
	perSecond = human.PerSecond
	percent   = human.Percent
	plural    = human.Plural
	firstLine = human.FirstLine
	budgetOf  = human.Budget
	spentOf   = human.Spent
	amount    = human.Amount
	dollars   = human.Dollars
)

package spec

import (
	"github.com/goccy/go-yaml/ast"

	"github.com/batchagent/batchagent/pkg/batch"
)

const (
	maxBudgetTokens = 1_000_000_000_000_000
	maxBudgetUSD    = 1_000_000_000
	maxPrice        = 1_000_000 // US dollars per million tokens
)

// inMoney is a budget in money, and the prices that it counts by unless they are the batch's.
type inMoney struct {
	field  string
	node   ast.Node
	prices *batch.Prices
}

// budget reads what a job, a batch or a stage may use. Money is counted by prices, or, if they are zero in the end, by the batch's.
func (l *loader) budget(to *batch.Budget, prices *batch.Prices) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		l.mapping(field, n, []fieldReader{
			{"tokens", func(f string, n ast.Node) { to.Tokens, _ = l.integer(f, n, 1, maxBudgetTokens) }},
			{"usd", l.dollars(&to.USD, maxBudgetUSD)},
		})
		if to.USD > 0 {
			l.priced = append(l.priced, inMoney{field + ".usd", n, prices})
		}
	}
}

// prices reads what tokens cost. Cached ones cost what the others do unless a price of their own is given.
func (l *loader) prices(to *batch.Prices) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		cached := -1.0
		l.mapping(field, n, []fieldReader{
			{"prompt", l.dollars(&to.Prompt, maxPrice)},
			{"cached", l.dollars(&cached, maxPrice)},
			{"completion", l.dollars(&to.Completion, maxPrice)},
		})
		if to.Cached = cached; cached < 0 {
			to.Cached = to.Prompt
		}
	}
}

func (l *loader) dollars(to *float64, high float64) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		if v, ok := l.number(field, n, 0, high); ok {
			*to = v
		}
	}
}

// needPrices refuses a budget in money that nothing counts against.
func (l *loader) needPrices() {
	if l.spec.settings.Prices != (batch.Prices{}) {
		return
	}
	for _, b := range l.priced {
		if *b.prices != (batch.Prices{}) {
			continue
		}
		l.failf(b.node, b.field, "needs prices, in US dollars per million tokens: `prices: {prompt: 0.15, cached: 0.075, completion: 0.6}`")
	}
}

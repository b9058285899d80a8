package spec

import (
	"github.com/goccy/go-yaml/ast"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/strictyaml"
)

// The largest accepted budgets.
const (
	MaxBudgetTokens = 1_000_000_000_000_000
	MaxBudgetUSD    = 1_000_000_000

	maxPrice = 1_000_000 // US dollars per million tokens
)

// inMoney is a budget in money, with the stage's prices. If they are zero, the batch's prices count.
type inMoney struct {
	field  string
	node   ast.Node
	prices *batch.Prices
}

// budget reads the budget of a job, a batch or a stage. Money counts by prices, or by the batch's prices if prices are
// zero after the whole spec was read.
func (l *loader) budget(to *batch.Budget, prices *batch.Prices) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		before := len(l.Errs)
		l.Fields(field, n,
			strictyaml.Field{Name: "tokens", Read: func(f string, n ast.Node) { to.Tokens, _ = l.Int(f, n, 1, MaxBudgetTokens) }},
			strictyaml.Field{Name: "usd", Read: func(f string, n ast.Node) {
				v, ok := l.Number(f, n, 0, MaxBudgetUSD)
				if ok && v == 0 {
					l.Failf(n, f, "must be more than 0; leave it out for no limit")
				}
				to.USD = v
			}},
		)
		if to.Tokens == 0 && to.USD == 0 && len(l.Errs) == before {
			l.Failf(n, field, "limits nothing; give tokens, usd or both, or leave it out")
		}
		if to.USD > 0 {
			l.priced = append(l.priced, inMoney{field + ".usd", n, prices})
		}
	}
}

// prices reads the prices of tokens. Prompt and completion tokens need a price, which may be 0. Cached tokens cost as
// much as prompt tokens unless they have a price.
func (l *loader) prices(to *batch.Prices) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		cached, before := -1.0, len(l.Errs)
		has := map[string]bool{}
		price := func(name string, to *float64) strictyaml.Field {
			return strictyaml.Field{Name: name, Read: func(f string, n ast.Node) {
				has[name] = true
				l.dollars(to, maxPrice)(f, n)
			}}
		}
		l.Fields(field, n,
			price("prompt", &to.Prompt), price("cached", &cached), price("completion", &to.Completion),
		)
		for _, name := range []string{"prompt", "completion"} {
			if !has[name] && len(l.Errs) == before {
				l.Failf(n, field+"."+name, "is required: a missing price would count as free. Write `%s: 0` if these tokens cost nothing", name)
			}
		}
		if to.Cached = cached; cached < 0 {
			to.Cached = to.Prompt
		}
	}
}

func (l *loader) dollars(to *float64, high float64) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		if v, ok := l.Number(field, n, 0, high); ok {
			*to = v
		}
	}
}

// needPrices refuses a budget in money without prices.
func (l *loader) needPrices() {
	if l.spec.settings.Prices != (batch.Prices{}) {
		return
	}
	for _, b := range l.priced {
		if *b.prices != (batch.Prices{}) {
			continue
		}
		l.Failf(b.node, b.field, "needs prices, in US dollars per million tokens: `prices: {prompt: 0.15, cached: 0.075, completion: 0.6}`")
	}
}

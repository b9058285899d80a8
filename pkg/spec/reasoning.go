package spec

import (
	"cmp"

	"github.com/goccy/go-yaml/ast"

	"github.com/batchagent/batchagent/pkg/strictyaml"
)

// KeepReasoning selects the reasoning that a job sends back to its model.
type KeepReasoning string

// The choices. Transcripts contain all reasoning under each of them.
const (
	// KeepAuto sends the reasoning of turns that called tools, as servers expect within a tool loop.
	KeepAuto KeepReasoning = "auto"
	// KeepAlways also sends the reasoning of an answer that has to be repaired.
	KeepAlways KeepReasoning = "always"
	// KeepNever sends no reasoning.
	KeepNever KeepReasoning = "never"
)

// keepReasoning reads a choice.
func (l *loader) keepReasoning(to *KeepReasoning) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		v, _ := l.Text(field, n)
		switch k := KeepReasoning(v); k {
		case KeepAuto, KeepAlways, KeepNever:
			*to = k
		default:
			l.Failf(n, field, "must be %s, %s or %s, not %s", KeepAuto, KeepAlways, KeepNever, strictyaml.KindOf(n))
		}
	}
}

// stored returns the choice in the form of plans: "" for the default.
func (k KeepReasoning) stored() KeepReasoning {
	if k == KeepAuto {
		return ""
	}
	return k
}

// or returns the choice, or the batch's choice if it is empty.
func (k KeepReasoning) or(batch KeepReasoning) KeepReasoning { return cmp.Or(k, batch).stored() }

package toolset

import (
	"fmt"
	"slices"
	"strings"

	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/builtin"
)

// MissingError reports tools that a spec names and that nothing offers.
type MissingError struct {
	Tools   []string // the missing tools, as in the spec
	Offered []string // the tools that exist, sorted
}

func (e *MissingError) Error() string {
	there := strings.Join(e.Offered, ", ")
	if there == "" {
		there = "none"
	}
	hint := ""
	for _, name := range e.Tools {
		hint += hintFor(name)
	}
	if name, ok := spec.ProgramOf(e.Tools[0]); ok {
		return fmt.Sprintf("the spec names the program %s, and no worker declares it: the operator writes it under programs: into tools.yaml; there are: %s", name, there)
	}
	return fmt.Sprintf("the spec asks for the tool %s; there are: %s%s", strings.Join(e.Tools, ", "), there, hint)
}

// hintFor returns how to get a built-in tool that is off by default, or "".
func hintFor(name string) string {
	switch name {
	case "web_search":
		var keys []string
		for _, p := range builtin.SearchProviders {
			keys = append(keys, p.KeyEnv)
		}
		return "; web_search needs a key in " + strings.Join(keys, ", ") + " where the worker runs"
	case "python_eval":
		return "; python_eval is off unless the worker's tools.yaml says python_eval: true"
	}
	return ""
}

// Missing returns a [MissingError] for the wanted tools, as in a spec, that are not offered, or nil if all are.
func Missing(wanted, offered []string) error {
	e := &MissingError{}
	for _, name := range wanted {
		if !slices.ContainsFunc(offered, func(o string) bool { return toolpool.WireName(o) == toolpool.WireName(name) }) {
			e.Tools = append(e.Tools, name)
		}
	}
	if e.Tools == nil {
		return nil
	}
	for _, o := range offered {
		e.Offered = append(e.Offered, toolpool.SpecName(o))
	}
	slices.Sort(e.Offered)
	e.Offered = slices.Compact(e.Offered)
	return e
}

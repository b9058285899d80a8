package spec

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/batchagent/batchagent/pkg/plainjson"
	"github.com/batchagent/batchagent/pkg/strictyaml"
)

const (
	preloadField = "preload"
	// maxPreloads limits the calls of one job.
	maxPreloads = 8
	// maxPreloadArgs limits the arguments of one call in a spec, in bytes of JSON.
	maxPreloadArgs = 16 << 10
)

// preloaded is a call as its author wrote it.
type preloaded struct {
	tool string
	args any // like [argument], with a *prompt for each string
	node ast.Node
}

// preloads reads the calls that are made before the first model call of each job.
//
//	preload:
//	- tool: read_file
//	  args: {path: "{path}"}
func (l *loader) preloads(field string, n ast.Node) {
	l.List(field, n, func(field string, n ast.Node) {
		p, before := preloaded{args: map[string]any{}, node: n}, len(l.Errs)
		l.Fields(field, n,
			strictyaml.Field{Name: "tool", Read: func(f string, n ast.Node) { p.tool, _ = l.Text(f, n) }},
			strictyaml.Field{Name: "args", Read: func(f string, n ast.Node) { p.args = l.arguments(f, n) }},
		)
		switch {
		case len(l.Errs) > before:
		case !toolName.MatchString(p.tool):
			l.Failf(n, field+".tool", "must be the name of a tool, such as read_file, not %q", strictyaml.Shorten(p.tool))
		default:
			l.spec.preloads = append(l.spec.preloads, p)
		}
	})
	if len(l.spec.preloads) > maxPreloads {
		l.Failf(n, field, "must have at most %d calls", maxPreloads)
	}
}

// arguments reads the arguments of a call: a mapping.
func (l *loader) arguments(field string, n ast.Node) any {
	if _, ok := n.(ast.MapNode); !ok {
		l.Failf(n, field, "must be a mapping of argument names to values, such as {path: \"{path}\"}, not %s", strictyaml.KindOf(n))
		return nil
	}
	return l.argument(field, n)
}

func (l *loader) argument(field string, n ast.Node) any {
	if n = l.Resolve(field, n); n == nil {
		return nil
	}
	switch v := n.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		p, _ := l.prompt(field, n)
		p.wording, p.given = parseWording(p.text), true
		l.spec.arguments = append(l.spec.arguments, &p)
		return &p
	case ast.MapNode:
		if onlyKeys(v) {
			l.Failf(n, field, "must be a value, not a mapping%s", strictyaml.NotText(n))
			return nil
		}
		entries, _ := l.Members(field, n)
		out := make(map[string]any, len(entries))
		for _, e := range entries {
			out[e.Key] = l.argument(strictyaml.Join(field, e.Key), e.Value)
		}
		return out
	case *ast.SequenceNode:
		out := []any{}
		l.List(field, n, func(field string, n ast.Node) { out = append(out, l.argument(field, n)) })
		return out
	}
	text, _ := l.JSON(field, n)
	return json.RawMessage(text)
}

// finishPreloads checks the calls once all fields are read.
func (l *loader) finishPreloads() {
	for i, p := range l.spec.preloads {
		l.spec.settings.Preload = append(l.spec.settings.Preload, Preload{Tool: p.tool})
		if l.spec.settings.ToolSettings[p.tool].Share == "effect" {
			l.Failf(p.node, fmt.Sprintf("%s[%d]", preloadField, i), "%s", NoEffects(p.tool))
		}
	}
}

// NoEffects returns why a tool with side effects cannot be preloaded.
func NoEffects(tool string) string {
	return fmt.Sprintf("the tool %s has side effects, and a preloaded call may run again after a fault; let the agent call it: list it in tools", tool)
}

// prompts returns all texts that may have placeholders.
func (s *Spec) prompts() []prompt {
	out := []prompt{s.system, s.task}
	for _, p := range s.arguments {
		out = append(out, *p)
	}
	return out
}

// varying returns the names of the texts that may differ between jobs, each once.
func (s *Spec) varying() []string {
	var out []string
	seen := map[string]bool{} // an author may use 100,000 names
	for _, p := range s.prompts()[1:] {
		for _, name := range p.wording.names() {
			if !seen[name] {
				seen[name] = true
				out = append(out, name)
			}
		}
	}
	return out
}

// fillPreloads sets Preload of the compiled spec. constant returns the value of a name that has the same value in every input.
func (s *Spec) fillPreloads(compiled *Compiled, placed placement, constant func(name string) (any, bool)) error {
	alias := map[string]string{}
	for a, name := range placed.names {
		alias[name] = a
	}
	var errs Errors
	compiled.Preload = nil
	for i, p := range s.preloads {
		args, err := plainjson.Marshal(s.filled(p.args, alias, constant))
		if err != nil {
			return fmt.Errorf("preload[%d]: %w", i, err)
		}
		if len(args) > maxPreloadArgs {
			errs = append(errs, &FieldError{File: s.Path, Line: strictyaml.LineOf(p.node), Field: fmt.Sprintf("%s[%d].args", preloadField, i),
				Message: fmt.Sprintf("must be at most %d bytes of JSON; a value that is the same in every input counts", maxPreloadArgs)})
		}
		compiled.Preload = append(compiled.Preload, Preload{Tool: p.tool, Args: args})
	}
	if err := errs.OrNil(); err != nil {
		return err
	}
	return compiled.parsePreloads()
}

// writtenPreloads returns the calls as their author wrote them, as JSON.
func (s *Spec) writtenPreloads() []json.RawMessage {
	var out []json.RawMessage
	for _, p := range s.preloads {
		none := func(string) (any, bool) { return nil, false }
		text, err := plainjson.Marshal([]any{p.tool, s.filled(p.args, nil, none)})
		if err != nil {
			continue // the loader has written these values before
		}
		out = append(out, text)
	}
	return out
}

// filled returns an argument with the text of a template for each string, and with constants filled in.
func (s *Spec) filled(a any, alias map[string]string, constant func(name string) (any, bool)) any {
	switch v := a.(type) {
	case *prompt:
		t := v.wording.template(s.literal, func(name string) (string, bool) {
			a, ok := alias[name]
			return a, ok
		})
		if len(t.parts) == 1 && t.parts[0].field != "" {
			if value, ok := constant(t.parts[0].shown()); ok {
				return escaped(value)
			}
		}
		filled, err := t.replace(func(q part) (string, bool) {
			value, ok := constant(q.shown())
			if !ok {
				return "", false
			}
			text, err := appendValue(nil, value)
			return string(text), err == nil
		})
		if err != nil {
			filled = t
		}
		return filled.String()
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, member := range v {
			out[name] = s.filled(member, alias, constant)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, element := range v {
			out[i] = s.filled(element, alias, constant)
		}
		return out
	}
	return a
}

// escaped returns a value of an input as an argument that renders to it.
func escaped(value any) any {
	switch v := value.(type) {
	case string:
		return Escape(v)
	case json.RawMessage:
		var tree any
		decoder := json.NewDecoder(strings.NewReader(string(v)))
		decoder.UseNumber()
		if decoder.Decode(&tree) != nil {
			return v
		}
		return escaped(tree)
	case map[string]any:
		for name := range v {
			v[name] = escaped(v[name])
		}
	case []any:
		for i := range v {
			v[i] = escaped(v[i])
		}
	}
	return value
}

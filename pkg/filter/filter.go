package filter

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Limits of a condition (I11).
const (
	maxLength = 2000 // bytes
	maxNodes  = 200  // of the syntax tree
	maxSteps  = 100_000
	// bytesPerStep is how many bytes of a text an operator may read in one step.
	bytesPerStep = 4096
	maxNamed     = 50 // field names that a message may list
)

// All is the condition that every result meets.
const All = "all"

// Filter is a condition on results. It is not safe for concurrent use.
type Filter struct {
	text    string
	root    ast.Node // nil matches every result
	changed bool     // the condition has the name changed
	uses    map[*ast.MemberNode]*use
	regexps map[ast.Node]matcher
}

// Options select the names of a condition.
type Options struct {
	// Changed adds the name changed: the input or the prompt of the result's job has changed.
	Changed bool
}

// Parse reads a condition. [All] is the condition that every result meets. The word "where" may precede a condition.
func Parse(text string, o Options) (*Filter, error) {
	if rest, ok := strings.CutPrefix(strings.TrimSpace(text), "where "); ok {
		text = rest
	}
	f := &Filter{text: text, uses: map[*ast.MemberNode]*use{}, regexps: map[ast.Node]matcher{}}
	switch {
	case len(text) > maxLength:
		return nil, fmt.Errorf("the condition has %d bytes; at most %d are allowed", len(text), maxLength)
	case !utf8.ValidString(text):
		return nil, errors.New("the condition is not UTF-8 text")
	case strings.TrimSpace(text) == "":
		return nil, fmt.Errorf("the condition is empty; write for example: failed, or: output.confidence < 0.5")
	case strings.TrimSpace(text) == All:
		return f, nil
	}
	config := conf.CreateNew()
	config.MaxNodes = maxNodes
	tree, err := parser.ParseWithConfig(text, config)
	if err != nil {
		return nil, f.unread(err)
	}
	if err := f.check(tree.Node, o); err != nil {
		return nil, err
	}
	f.root = tree.Node
	return f, nil
}

// String returns the text of the condition.
func (f *Filter) String() string { return f.text }

// AsksChanged reports whether the condition depends on whether the job has changed.
func (f *Filter) AsksChanged() bool { return f.changed }

// Matches reports whether a result meets the condition. changed is the value of the name changed. A condition on a value that
// the result lacks is not met.
func (f *Filter) Matches(r batch.Result, changed bool) (bool, error) {
	if f.root == nil {
		return true, nil
	}
	e := evaluation{filter: f, result: &r, changed: changed}
	v, err := e.eval(f.root)
	if err == nil {
		var met bool
		if met, err = e.met(f.root, v); err == nil {
			return met, nil
		}
	}
	return false, fmt.Errorf("%s: %w", r.JobID, err)
}

// unread returns the error for a text that the parser refuses.
func (f *Filter) unread(err error) error {
	bad, ok := errors.AsType[*file.Error](err)
	if !ok {
		return fmt.Errorf("the condition %q: %w", f.text, err)
	}
	message := bad.Message
	switch {
	case strings.Contains(message, "maximum allowed nodes"):
		return fmt.Errorf("the condition has more than %d parts; make it shorter", maxNodes)
	case strings.Contains(message, `Operator("=")`):
		message = "one = compares nothing; write =="
	case strings.Contains(message, "token EOF"):
		message = "the condition ends too early"
	}
	return f.errorf(bad.Location, "%s", message)
}

// errorf returns an error with the position of its cause.
func (f *Filter) errorf(at file.Location, format string, args ...any) error {
	return fmt.Errorf("the condition %q, character %d: %s", f.text, at.From+1, fmt.Sprintf(format, args...))
}

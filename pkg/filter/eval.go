package filter

import (
	"errors"
	"fmt"
	"strings"

	"github.com/expr-lang/expr/ast"

	"github.com/batchagent/batchagent/pkg/batch"
)

var errSteps = errors.New("the condition takes too long for this result; use any and all over shorter lists")

// evaluation evaluates a condition for one result. Values are nil, bool, string, json.Number, []any and map[string]any.
type evaluation struct {
	filter  *Filter
	result  *batch.Result
	changed bool
	element any            // of the list of the innermost any or all
	values  map[string]any // of names that were used already
	steps   int
}

func (e *evaluation) eval(n ast.Node) (any, error) {
	if e.steps++; e.steps > maxSteps {
		return nil, errSteps
	}
	switch n := n.(type) {
	case *ast.IntegerNode:
		return number(int64(n.Value)), nil
	case *ast.FloatNode:
		return decimal(n.Value), nil
	case *ast.BoolNode:
		return n.Value, nil
	case *ast.StringNode:
		return n.Value, nil
	case *ast.IdentifierNode:
		return e.name(n.Value)
	case *ast.PointerNode:
		return e.element, nil
	case *ast.ChainNode:
		return e.eval(n.Node)
	case *ast.PredicateNode:
		return e.eval(n.Node)
	case *ast.UnaryNode:
		return e.unary(n)
	case *ast.BinaryNode:
		return e.binary(n)
	case *ast.MemberNode:
		return e.member(n)
	case *ast.BuiltinNode:
		return e.call(n)
	case *ast.ArrayNode:
		out := make([]any, len(n.Nodes))
		for i, element := range n.Nodes {
			var err error
			if out[i], err = e.eval(element); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return nil, nil //nolint:nilnil // null is a value
}

// charge counts the steps for reading a text.
func (e *evaluation) charge(text string) { e.steps += len(text) / bytesPerStep }

func (e *evaluation) name(name string) (any, error) {
	switch name {
	case changedName:
		return e.changed, nil
	case "null":
		return nil, nil //nolint:nilnil // null is a value
	}
	if v, ok := e.values[name]; ok {
		return v, nil
	}
	v, err := names[name](e.result)
	if err != nil {
		return nil, fmt.Errorf("read its %s: %w", name, err)
	}
	if e.values == nil {
		e.values = map[string]any{}
	}
	e.values[name] = v
	return v, nil
}

// member returns a field of an object or an element of a list; null if it is missing.
func (e *evaluation) member(n *ast.MemberNode) (any, error) {
	of, err := e.eval(n.Node)
	if err != nil || of == nil {
		return nil, err
	}
	key, err := e.eval(n.Property)
	if err != nil {
		return nil, err
	}
	switch of := of.(type) {
	case map[string]any:
		name, ok := key.(string)
		if !ok {
			return nil, e.errorf(n.Property, "a field's name is a text, and this is %s", kind(key))
		}
		v, there := of[name]
		e.filter.uses[n].note(of, there)
		return v, nil
	case []any:
		i, ok := whole(key)
		if !ok {
			return nil, e.errorf(n.Property, "%s is a list; write [0] for its first element, or any(%[1]s, …)", e.filter.textOf(n.Node))
		}
		if i < 0 {
			i += int64(len(of))
		}
		if i < 0 || i >= int64(len(of)) {
			return nil, nil //nolint:nilnil // a missing element is null
		}
		return of[i], nil
	}
	return nil, e.errorf(n.Property, "%s is %s and has no fields", e.filter.textOf(n.Node), kind(of))
}

func (e *evaluation) unary(n *ast.UnaryNode) (any, error) {
	v, err := e.eval(n.Node)
	if err != nil || v == nil {
		return nil, err
	}
	switch n.Operator {
	case "not", "!":
		met, ok := v.(bool)
		if !ok {
			return nil, e.errorf(n.Node, "not needs a condition, and this is %s", kind(v))
		}
		return !met, nil
	}
	x, ok := float(v)
	switch {
	case !ok:
		return nil, e.errorf(n.Node, "%s needs a number, and this is %s", n.Operator, kind(v))
	case n.Operator == "-":
		return decimal(-x), nil
	}
	return v, nil
}

func (e *evaluation) binary(n *ast.BinaryNode) (any, error) {
	switch n.Operator {
	case "and", "&&":
		return e.logic(n, false)
	case "or", "||":
		return e.logic(n, true)
	}
	left, err := e.eval(n.Left)
	if err != nil {
		return nil, err
	}
	if n.Operator == "??" && left != nil {
		return left, nil
	}
	right, err := e.eval(n.Right)
	if err != nil {
		return nil, err
	}
	switch n.Operator {
	case "??":
		return right, nil
	case "==", "!=":
		same, err := e.equal(n, left, right)
		return same == (n.Operator == "=="), err
	}
	if left == nil || right == nil {
		return nil, nil //nolint:nilnil // the answer is unknown
	}
	switch n.Operator {
	case "<", "<=", ">", ">=":
		return e.compare(n, left, right)
	case "in":
		return e.in(n, left, right)
	case "+", "-", "*", "/", "%":
		return e.arithmetic(n, left, right)
	}
	if list, ok := left.([]any); ok && n.Operator == "contains" {
		return e.in(n, right, list)
	}
	text, ok := left.(string)
	if !ok {
		return nil, e.errorf(n.Left, "%s needs a text, and this is %s", n.Operator, kind(left))
	}
	part, ok := right.(string)
	if !ok {
		return nil, e.errorf(n.Right, "%s needs a text, and this is %s", n.Operator, kind(right))
	}
	e.charge(text)
	switch n.Operator {
	case "contains":
		return strings.Contains(text, part), nil
	case "startsWith":
		return strings.HasPrefix(text, part), nil
	case "endsWith":
		return strings.HasSuffix(text, part), nil
	}
	return e.filter.regexps[n].MatchString(text), nil
}

// logic evaluates and and or. An unknown operand decides nothing: unknown or true is true. decides is the operand that decides.
func (e *evaluation) logic(n *ast.BinaryNode, decides bool) (any, error) {
	unknown := false
	for _, operand := range []ast.Node{n.Left, n.Right} {
		v, err := e.eval(operand)
		if err != nil {
			return nil, err
		}
		met, ok := v.(bool)
		switch {
		case v == nil:
			unknown = true
		case !ok:
			return nil, e.errorf(operand, "%s needs a condition, and this is %s", n.Operator, kind(v))
		case met == decides:
			return decides, nil
		}
	}
	if unknown {
		return nil, nil //nolint:nilnil // the answer is unknown
	}
	return !decides, nil
}

// call evaluates a function.
func (e *evaluation) call(n *ast.BuiltinNode) (any, error) {
	v, err := e.eval(n.Arguments[0])
	if err != nil || v == nil {
		return nil, err
	}
	switch n.Name {
	case "len":
		return e.length(n, v)
	case "lower":
		text, ok := v.(string)
		if !ok {
			return nil, e.errorf(n.Arguments[0], "lower needs a text, and this is %s", kind(v))
		}
		e.charge(text)
		return strings.ToLower(text), nil
	case "float":
		return toNumber(v), nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, e.errorf(n.Arguments[0], "%s needs a list, and this is %s", n.Name, kind(v))
	}
	wants := n.Name == "any"
	outer := e.element
	defer func() { e.element = outer }()
	for _, e.element = range list {
		v, err := e.eval(n.Arguments[1])
		if err != nil {
			return nil, err
		}
		met, err := e.met(n.Arguments[1], v)
		if err != nil || met == wants {
			return met, err
		}
	}
	return !wants, nil
}

// met converts the value of a condition. Unknown is false.
func (e *evaluation) met(n ast.Node, v any) (bool, error) {
	met, ok := v.(bool)
	if !ok && v != nil {
		return false, e.errorf(n, "this is %s and no condition; compare it with something", kind(v))
	}
	return met, nil
}

func (e *evaluation) errorf(n ast.Node, format string, args ...any) error {
	return e.filter.errorf(n.Location(), format, args...)
}

package filter

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
)

func number(n int64) json.Number { return json.Number(strconv.FormatInt(n, 10)) }

func decimal(x float64) any {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return json.Number(strconv.FormatFloat(x, 'g', -1, 64))
}

// float returns the value of a number.
func float(v any) (float64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	x, err := n.Float64()
	return x, err == nil
}

// whole returns the value of an integer.
func whole(v any) (int64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	i, err := n.Int64()
	return i, err == nil
}

// toNumber converts a text to a number; null if it is not one.
func toNumber(v any) any {
	switch v := v.(type) {
	case json.Number:
		return v
	case string:
		if x, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil {
			return decimal(x)
		}
	}
	return nil
}

// maxShown is how many bytes of a text a message shows.
const maxShown = 40

// kind names the kind of a value in messages.
func kind(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return "the number " + v.String()
	case string:
		if len(v) > maxShown {
			v = strings.ToValidUTF8(v[:maxShown], "") + "…"
		}
		return "the text " + strconv.Quote(v)
	case []any:
		return "a list"
	}
	return "an object"
}

// equal compares two values. null equals null only.
func (e *evaluation) equal(n ast.Node, a, b any) (bool, error) {
	if a == nil || b == nil {
		return a == nil && b == nil, nil
	}
	switch a := a.(type) {
	case bool:
		if b, ok := b.(bool); ok {
			return a == b, nil
		}
	case string:
		if b, ok := b.(string); ok {
			e.charge(b)
			return a == b, nil
		}
	case json.Number:
		if _, ok := b.(json.Number); ok {
			order, ok := order(a, b)
			return ok && order == 0, nil
		}
	case []any:
		if b, ok := b.([]any); ok {
			return e.equalLists(n, a, b)
		}
	}
	return false, e.unlike(n, a, b)
}

func (e *evaluation) equalLists(n ast.Node, a, b []any) (bool, error) {
	if len(a) != len(b) {
		return false, nil
	}
	for i := range a {
		if e.steps++; e.steps > maxSteps {
			return false, errSteps
		}
		if same, err := e.equal(n, a[i], b[i]); err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

// unlike returns the error for values that cannot be compared.
func (e *evaluation) unlike(n ast.Node, a, b any) error {
	hint := ""
	_, text := a.(string)
	_, count := b.(json.Number)
	if !text || !count {
		_, text = b.(string)
		_, count = a.(json.Number)
	}
	if text && count {
		hint = "; float(…) converts a text to a number"
	}
	return e.errorf(n, "%s cannot be compared with %s%s", kind(a), kind(b), hint)
}

// order compares two numbers, integers exactly. ok is false for a number that is too large.
func order(a, b any) (_ int, ok bool) {
	if i, ok := whole(a); ok {
		if j, ok := whole(b); ok {
			return compare(i, j), true
		}
	}
	x, okX := float(a)
	y, okY := float(b)
	return compare(x, y), okX && okY
}

func compare[T int64 | float64 | string](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// compare evaluates an order of two numbers or two texts.
func (e *evaluation) compare(n *ast.BinaryNode, a, b any) (any, error) {
	var c int
	textA, okA := a.(string)
	textB, okB := b.(string)
	if okA && okB {
		e.charge(textB)
		c = compare(textA, textB)
	} else {
		var ok bool
		if c, ok = order(a, b); !ok {
			return nil, e.unlike(n, a, b)
		}
	}
	switch n.Operator {
	case "<":
		return c < 0, nil
	case "<=":
		return c <= 0, nil
	case ">":
		return c > 0, nil
	}
	return c >= 0, nil
}

// comparable reports whether two values are of one kind.
func comparable(a, b any) bool {
	switch a.(type) {
	case string:
		_, ok := b.(string)
		return ok
	case json.Number:
		_, ok := b.(json.Number)
		return ok
	case bool:
		_, ok := b.(bool)
		return ok
	}
	return a == nil && b == nil
}

// in reports whether a list has a value, or an object a field. Elements of another kind are not equal.
func (e *evaluation) in(n ast.Node, v, of any) (any, error) {
	switch of := of.(type) {
	case []any:
		for _, element := range of {
			if e.steps++; e.steps > maxSteps {
				return nil, errSteps
			}
			if !comparable(v, element) {
				continue
			}
			if same, err := e.equal(n, v, element); err != nil || same {
				return same, err
			}
		}
		return false, nil
	case map[string]any:
		name, ok := v.(string)
		_, there := of[name]
		return ok && there, nil
	}
	return nil, e.errorf(n, "in needs a list, and this is %s", kind(of))
}

func (e *evaluation) arithmetic(n *ast.BinaryNode, a, b any) (any, error) {
	x, okX := float(a)
	y, okY := float(b)
	if !okX || !okY {
		return nil, e.errorf(n, "%s needs two numbers, and these are %s and %s", n.Operator, kind(a), kind(b))
	}
	switch n.Operator {
	case "+":
		return decimal(x + y), nil
	case "-":
		return decimal(x - y), nil
	case "*":
		return decimal(x * y), nil
	case "/":
		return decimal(x / y), nil
	}
	return decimal(math.Mod(x, y)), nil
}

func (e *evaluation) length(n *ast.BuiltinNode, v any) (any, error) {
	switch v := v.(type) {
	case string:
		e.charge(v)
		return number(int64(utf8.RuneCountInString(v))), nil
	case []any:
		return number(int64(len(v))), nil
	case map[string]any:
		return number(int64(len(v))), nil
	}
	return nil, e.errorf(n, "len needs a text or a list, and this is %s", kind(v))
}

package filter

import (
	"regexp"
	"slices"

	"github.com/expr-lang/expr/ast"
)

// operators are the binary operators of a condition.
var operators = []string{
	"and", "&&", "or", "||", "==", "!=", "<", "<=", ">", ">=", "in", "contains", "startsWith", "endsWith", "matches", "+", "-", "*", "/", "%", "??",
}

// functions are the functions of a condition, with the number of their arguments.
var functions = map[string]int{"len": 1, "lower": 1, "float": 1, "any": 2, "all": 2}

// functionList names the functions in messages.
const functionList = "len, lower, float, any, all"

// matcher tests a text.
type matcher interface{ MatchString(string) bool }

// check returns an error for a condition with names or constructs that do not exist.
func (f *Filter) check(n ast.Node, o Options) error {
	c := checker{f: f, known: knownNames(o)}
	c.node(n)
	return c.err
}

type checker struct {
	f      *Filter
	known  []string
	inside int // predicates around the node
	err    error
}

// fail records the first error.
func (c *checker) fail(n ast.Node, format string, args ...any) {
	if c.err == nil {
		c.err = c.f.errorf(n.Location(), format, args...)
	}
}

func (c *checker) nodes(list ...ast.Node) {
	for _, n := range list {
		c.node(n)
	}
}

func (c *checker) node(n ast.Node) {
	if c.err != nil {
		return
	}
	switch n := n.(type) {
	case *ast.NilNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.StringNode:
	case *ast.IdentifierNode:
		c.name(n)
	case *ast.PointerNode:
		if n.Name != "" {
			c.fail(n, "#%s does not exist; # is the element", n.Name)
		}
	case *ast.UnaryNode:
		c.node(n.Node)
	case *ast.BinaryNode:
		c.binary(n)
	case *ast.ChainNode:
		c.node(n.Node)
	case *ast.MemberNode:
		c.member(n)
	case *ast.ArrayNode:
		c.nodes(n.Nodes...)
	case *ast.BuiltinNode:
		c.call(n)
	case *ast.PredicateNode:
		c.inside++
		c.node(n.Node)
		c.inside--
	case *ast.CallNode:
		c.fail(n, "this function does not exist; there are %s", functionList)
	default:
		c.fail(n, "a condition only compares values: it has no variables, slices, maps, if and loops")
	}
}

func (c *checker) name(n *ast.IdentifierNode) {
	switch {
	case n.Value == changedName && slices.Contains(c.known, changedName):
		c.f.changed = true
	case n.Value == "null": // as in JSON; the parser knows it as nil
	case n.Value == All:
		c.fail(n, "%s stands alone; leave it out of a longer condition", All)
	case !slices.Contains(c.known, n.Value):
		c.fail(n, "there is no field %s; there are %s", n.Value, listed(c.known, n.Value))
	}
}

func (c *checker) binary(n *ast.BinaryNode) {
	if !slices.Contains(operators, n.Operator) {
		c.fail(n, "the operator %s does not exist here", n.Operator)
		return
	}
	c.nodes(n.Left, n.Right)
	if n.Operator != "matches" || c.err != nil {
		return
	}
	pattern, ok := n.Right.(*ast.StringNode)
	if !ok {
		c.fail(n.Right, "matches needs a pattern in quotes")
		return
	}
	compiled, err := regexp.Compile(pattern.Value)
	if err != nil {
		c.fail(n.Right, "%v", err)
		return
	}
	c.f.regexps[n] = compiled
}

func (c *checker) member(n *ast.MemberNode) {
	c.nodes(n.Node, n.Property)
	key, ok := n.Property.(*ast.StringNode)
	if !ok || c.err != nil {
		return
	}
	root, ok := n.Node.(*ast.IdentifierNode)
	if ok && members[root.Value] != nil {
		if !slices.Contains(members[root.Value], key.Value) {
			c.fail(n.Property, "%s has no field %s; it has %s", root.Value, key.Value, listed(members[root.Value], key.Value))
		}
		return
	}
	if ok && !slices.Contains([]string{"output", "input", "item"}, root.Value) {
		c.fail(n.Property, "%s has no fields", root.Value)
		return
	}
	c.f.uses[n] = &use{key: key.Value, of: c.f.textOf(n.Node), others: map[string]bool{}}
}

func (c *checker) call(n *ast.BuiltinNode) {
	want, ok := functions[n.Name]
	switch {
	case !ok:
		c.fail(n, "the function %s does not exist here; there are %s", n.Name, functionList)
	case len(n.Arguments) != want:
		c.fail(n, "%s takes %d values, not %d", n.Name, want, len(n.Arguments))
	case c.inside > 0 && want == 2:
		c.fail(n, "%s cannot be inside of another any or all", n.Name)
	}
	c.nodes(n.Arguments...)
}

// textOf returns how a message names a value.
func (f *Filter) textOf(n ast.Node) string {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return n.Value
	case *ast.ChainNode:
		return f.textOf(n.Node)
	case *ast.MemberNode:
		if key, ok := n.Property.(*ast.StringNode); ok {
			return f.textOf(n.Node) + "." + key.Value
		}
		return f.textOf(n.Node) + "[…]"
	}
	return "element"
}

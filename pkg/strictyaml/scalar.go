package strictyaml

import (
	"math/big"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Forms of an unquoted number: those of the YAML 1.2 core schema, without a plus sign and without leading zeros.
var (
	jsonNumber  = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
	bareDecimal = regexp.MustCompile(`^(-?)(0|[1-9][0-9]*)?\.([0-9]*)([eE][+-]?[0-9]+)?$`)
	otherBase   = regexp.MustCompile(`^0(x[0-9a-fA-F]+|o[0-7]+)$`)
)

// numberOf returns the JSON form of an unquoted number, and false for every other value. The parser reads YAML 1.1, in
// which 02142 is octal and 1_000 has a separator. numberOf therefore reads the characters and not the parser's value.
//
// Text that only looks like a number stays text: leading zeros (02142), a plus sign (+49151), separators (1_000), times
// (12:30:45).
func numberOf(n ast.Node) (string, bool) {
	switch n.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
	case *ast.StringNode: // the parser's node for numbers that fit no machine type
		if n.GetToken().Type != token.StringType {
			return "", false
		}
	default:
		return "", false
	}
	text := n.GetToken().Value
	if jsonNumber.MatchString(text) {
		return text, true
	}
	if otherBase.MatchString(text) {
		v, ok := new(big.Int).SetString(text, 0)
		return v.String(), ok
	}
	m := bareDecimal.FindStringSubmatch(text)
	if m == nil || m[2] == "" && m[3] == "" {
		return "", false
	}
	sign, whole, fraction, exponent := m[1], m[2], m[3], m[4]
	if whole == "" {
		whole = "0"
	}
	if fraction == "" {
		fraction = "0"
	}
	return strings.Join([]string{sign, whole, ".", fraction, exponent}, ""), true
}

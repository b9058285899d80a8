package strictyaml

import (
	"bytes"
	"errors"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxNesting limits open brackets and braces; the YAML parser's time grows with the square of their number.
const maxNesting = 10_000

// Parse returns the reader and the top node of a file. The node is nil, and the reason in Reader.Errs, if the file is
// invalid. JSON is also YAML. names explains unknown fields.
func Parse(file string, data []byte, names Names) (*Reader, Node) {
	r := New(file, names)
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	if line := tooNested(data); line > 0 {
		r.failAtf(line, "", "brackets are nested more than %d deep", maxNesting)
		return r, nil
	}
	if line := tooManyKeys(data); line > 0 {
		r.failAtf(line, "", "one mapping has more than %d keys; at most %d are allowed, also in a schema", maxKeys, maxKeys)
		return r, nil
	}
	if line := tooManyDocuments(data); line > 0 {
		r.failAtf(line, "", "the file holds more than %d YAML documents; a spec is one", maxDocuments)
		return r, nil
	}
	tree, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if syntax, ok := errors.AsType[*yaml.SyntaxError](err); ok {
		line := syntax.Token.Position.Line
		r.failAtf(line, "", "not valid YAML: %s%s", syntax.Message, quoteAdvice(data, line))
		return r, nil
	}
	if err != nil {
		r.failAtf(1, "", "not valid YAML: %v", err)
		return r, nil
	}
	if len(tree.Docs) > 1 {
		r.failAtf(2, "", "the file holds %d YAML documents; a spec is one", len(tree.Docs))
		return r, nil
	}
	if len(tree.Docs) == 0 || tree.Docs[0].Body == nil {
		r.failAtf(1, "", "the file is empty")
		return r, nil
	}
	found := anchorFinder{r.anchors, map[string]bool{}}
	ast.Walk(found, tree.Docs[0].Body)
	for name, value := range r.anchors {
		if text, ok := value.(*ast.StringNode); ok && !found.used[name] {
			r.Failf(text, "", "&%s is an anchor of YAML that no * refers to; put text that begins with & in quotes", name)
		}
	}
	return r, tree.Docs[0].Body
}

// anchorFinder collects the values of anchors by name, and the names that aliases use.
type anchorFinder struct {
	values map[string]ast.Node
	used   map[string]bool
}

func (f anchorFinder) Visit(n ast.Node) ast.Visitor {
	switch n := n.(type) {
	case *ast.AnchorNode:
		if n.Name != nil {
			f.values[n.Name.GetToken().Value] = n.Value
		}
	case *ast.AliasNode:
		if n.Value != nil {
			f.used[n.Value.GetToken().Value] = true
		}
	}
	return f
}

// tooNested returns the line on which more than maxNesting brackets are open, or 0. Brackets in text also count: no
// prompt leaves so many open.
func tooNested(data []byte) int {
	depth := 0
	for _, c := range data {
		switch c {
		case '[', '{':
			if depth++; depth > maxNesting {
				return tooNestedTokens(data)
			}
		case ']', '}':
			depth = max(0, depth-1)
		}
	}
	return 0
}

// tooNestedTokens is tooNested by tokens: brackets in strings do not count. It does not recurse, and is slower than
// tooNested.
func tooNestedTokens(data []byte) int {
	depth := 0
	for _, t := range lexer.Tokenize(string(data)) {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			if depth++; depth > maxNesting {
				return t.Position.Line
			}
		case token.SequenceEndType, token.MappingEndType:
			depth = max(0, depth-1)
		}
	}
	return 0
}

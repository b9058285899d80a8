package strictyaml

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// unquotedText matches a line with a key and a value that is neither quoted nor a number.
var unquotedText = regexp.MustCompile(`^\s*(?:- +)?([A-Za-z_][\w.-]*):[ \t]+(\S.*?)\s*$`)

// quoteAdvice explains a syntax error on a line with a value that is probably meant as text. It returns "" for other
// lines.
func quoteAdvice(data []byte, line int) string {
	lines := bytes.Split(data, []byte("\n"))
	if line < 1 || line > len(lines) {
		return ""
	}
	m := unquotedText.FindStringSubmatch(string(lines[line-1]))
	if m == nil {
		return ""
	}
	key, value := m[1], m[2]
	if !strings.ContainsAny(value[:1], "{[]},%@`\"'*&!|>?") && !strings.Contains(value, ": ") && !strings.HasSuffix(value, ":") {
		return ""
	}
	return fmt.Sprintf(". If the value of %s is text, put it in quotes, or write `%s: |` and the text on the next lines, indented", key, key)
}

// NotText explains a mapping or a list in place of text: without quotes, text that begins with a brace or a bracket is
// parsed as one.
func NotText(n ast.Node) string {
	open := ""
	switch n.(type) {
	case ast.MapNode:
		open = "{"
	case *ast.SequenceNode:
		open = "["
	}
	if open == "" || n.GetToken() == nil || n.GetToken().Value != open {
		return ""
	}
	return fmt.Sprintf("; put text that begins with %s in quotes", open)
}

package spec

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"

	"github.com/batchagent/batchagent/pkg/strictyaml"
)

// prompt is text with placeholders, and its place in a file.
type prompt struct {
	wording wording
	given   bool // false without such a prompt
	text    string
	field   string
	file    string
	line    int // of the first line of text
	// folded reports that lines of text are not lines of the file, so that line is only approximate.
	folded bool
}

// uses reports whether a placeholder may be the field, or a path into it.
func (p prompt) uses(field string) bool {
	return slices.ContainsFunc(p.wording, func(q piece) bool {
		return q.places() && (q.name == field || slices.Contains(roots(q.name), field))
	})
}

// mistake returns a FieldError at the first place where the name is in braces.
func (p prompt) mistake(name, message string) *FieldError {
	i := slices.IndexFunc(p.wording, func(q piece) bool { return q.name == name && q.places() })
	if i < 0 {
		i = slices.IndexFunc(p.wording, func(q piece) bool { return q.name == name })
	}
	offset := 0
	if i >= 0 {
		offset = p.wording[i].offset
	}
	return p.mistakeAt(offset, message)
}

// mistakeAt returns a FieldError at an offset in the text.
func (p prompt) mistakeAt(offset int, message string) *FieldError {
	line := p.line
	if !p.folded {
		line += strings.Count(p.text[:offset], "\n")
	}
	return &FieldError{File: p.file, Line: line, Field: p.field, Message: message}
}

func (l *loader) taskPrompt(field string, n ast.Node) prompt {
	p, ok := l.prompt(field, n)
	if ok && strings.TrimSpace(p.text) == "" {
		l.Failf(n, field, "must not be empty")
	}
	p.wording, p.given = parseWording(p.text), true
	return p
}

// finishSystem parses the system prompt. It runs after keep_preamble was read.
func (l *loader) finishSystem() {
	p := &l.spec.system
	if !l.keepPreamble {
		stripped := preamble.ReplaceAllString(p.text, "")
		if !p.folded {
			p.line += strings.Count(p.text, "\n") - strings.Count(stripped, "\n")
		}
		p.text = stripped
	}
	p.wording = parseWording(p.text)
}

// prompt reads text that is inline or in a file. Line ends become \n and trailing ones are dropped, so that the same
// words give the same prompt in every notation.
func (l *loader) prompt(field string, n ast.Node) (prompt, bool) {
	p := prompt{field: field, file: l.File, line: strictyaml.LineOf(n)}
	ok := true
	switch v := n.(type) {
	case ast.MapNode:
		if onlyKeys(v) {
			l.Failf(n, field, "must be text, or {file: path}, not a mapping%s", strictyaml.NotText(n))
			return p, false
		}
		var file string
		if file, ok = l.fileOnly(field, n); !ok {
			return p, false
		}
		var data []byte
		if data, ok = l.readFile(field+".file", n, file); !ok {
			return p, false
		}
		p.text, p.file, p.line = string(data), l.shown(file), 1
	case *ast.LiteralNode:
		p.text, p.line = v.Value.Value, p.line+1
		p.folded = strings.HasPrefix(v.Start.Value, ">")
	default:
		p.text, ok = l.Text(field, n)
		p.folded = true
	}
	p.text = strings.TrimRight(strings.ReplaceAll(p.text, "\r\n", "\n"), "\n")
	return p, ok
}

// fileOnly reads a mapping with the one field "file".
func (l *loader) fileOnly(field string, n ast.Node) (string, bool) {
	var file string
	before := len(l.Errs)
	l.Fields(field, n, strictyaml.Field{Name: fileField, Read: func(f string, n ast.Node) { file, _ = l.Text(f, n) }})
	if file == "" && len(l.Errs) == before {
		l.Failf(n, field, "must be text, or {file: path}")
	}
	return file, len(l.Errs) == before
}

// readFile reads a text file named by the spec.
func (l *loader) readFile(field string, n ast.Node, file string) ([]byte, bool) {
	if !l.mayRead(field, n, file) {
		return nil, false
	}
	data, err := strictyaml.ReadBounded(l.resolvePath(file), maxSpecBytes)
	if err == nil && !utf8.Valid(data) {
		err = errNotUTF8
	}
	if err != nil {
		l.Failf(n, field, "read %s: %v", l.shown(file), err)
		return nil, false
	}
	return []byte(strings.TrimPrefix(string(data), "\uFEFF")), true
}

// resolvePath returns the absolute path of a file named by the spec. Names are relative to the spec's folder.
func (l *loader) resolvePath(file string) string {
	if filepath.IsAbs(file) {
		return filepath.Clean(file)
	}
	return filepath.Join(l.dir, file)
}

// shown returns the name of a spec's file in messages. It is relative to the folder from which the user named the spec.
func (l *loader) shown(file string) string {
	if filepath.IsAbs(file) {
		return filepath.Clean(file)
	}
	return filepath.Join(filepath.Dir(l.spec.Path), file)
}

// preamble matches header lines that some clients put before a prompt. They differ between sessions, so every session
// would get a new prefix in the server's cache.
var preamble = regexp.MustCompile(`(?i)^\s*((x-anthropic-|x-amz-)[a-z0-9_-]*[ \t]*:[^\n]*(\n+|$))+`)

// onlyKeys reports whether a mapping has only keys without values, such as {name}.
func onlyKeys(m ast.MapNode) bool {
	keys := 0
	for it := m.MapRange(); it.Next(); keys++ {
		if _, null := it.Value().(*ast.NullNode); !null {
			return false
		}
	}
	return keys > 0
}

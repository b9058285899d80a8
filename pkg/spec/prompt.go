package spec

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
)

// prompt is text with placeholders and where it stands in a file.
type prompt struct {
	wording wording
	given   bool // false if there is no such prompt
	text    string
	field   string
	file    string
	line    int // of the first line of text
	// folded says that lines of text are not lines of the file, so that line is the best that is known.
	folded bool
}

// uses reports whether a placeholder may be the field, or a path into it.
func (p prompt) uses(field string) bool {
	return slices.ContainsFunc(p.wording, func(q piece) bool {
		return q.places() && (q.name == field || slices.Contains(roots(q.name), field))
	})
}

// mistake is a FieldError at the first place at which the name stands in braces.
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

// mistakeAt is a FieldError at an offset in the text.
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
		l.failf(n, field, "must not be empty")
	}
	p.wording, p.given = parseWording(p.text), true
	return p
}

// finishSystem parses the system prompt, which is read before it is known whether its preamble stays.
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

// prompt reads text that is inline or in a file. Line ends are made \n and those at the end dropped, so that the same
// words give the same prompt whichever way they are written.
func (l *loader) prompt(field string, n ast.Node) (prompt, bool) {
	p := prompt{field: field, file: l.file, line: lineOf(n)}
	ok := true
	switch v := n.(type) {
	case ast.MapNode:
		if onlyKeys(v) {
			l.failf(n, field, "must be text, or {file: path}, not a mapping%s", notText(n))
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
		p.text, ok = l.text(field, n)
		p.folded = true
	}
	p.text = strings.TrimRight(strings.ReplaceAll(p.text, "\r\n", "\n"), "\n")
	return p, ok
}

// fileOnly reads a mapping with the one field "file".
func (l *loader) fileOnly(field string, n ast.Node) (string, bool) {
	var file string
	before := len(l.errs)
	l.mapping(field, n, []fieldReader{{fileField, func(f string, n ast.Node) { file, _ = l.text(f, n) }}})
	if file == "" && len(l.errs) == before {
		l.failf(n, field, "must be text, or {file: path}")
	}
	return file, len(l.errs) == before
}

// readFile reads a text file that the spec names.
func (l *loader) readFile(field string, n ast.Node, file string) ([]byte, bool) {
	if !l.mayRead(field, n, file) {
		return nil, false
	}
	data, err := readBounded(l.resolvePath(file), maxSpecBytes)
	if err == nil && !utf8.Valid(data) {
		err = errNotUTF8
	}
	if err != nil {
		l.failf(n, field, "read %s: %v", l.shown(file), err)
		return nil, false
	}
	return []byte(strings.TrimPrefix(string(data), "\uFEFF")), true
}

// resolvePath is the absolute path of a file as the spec names it: relative to the spec's folder.
func (l *loader) resolvePath(file string) string {
	if filepath.IsAbs(file) {
		return filepath.Clean(file)
	}
	return filepath.Join(l.dir, file)
}

// shown is what messages call a file that the spec names: relative to where the user named the spec from.
func (l *loader) shown(file string) string {
	if filepath.IsAbs(file) {
		return filepath.Clean(file)
	}
	return filepath.Join(filepath.Dir(l.spec.Path), file)
}

// preamble is header lines that some clients put before a prompt. They differ from session to session, which would
// make every prefix a new one to the server's cache.
var preamble = regexp.MustCompile(`(?i)^\s*((x-anthropic-|x-amz-)[a-z0-9_-]*[ \t]*:[^\n]*(\n+|$))+`)

package strictyaml

import (
	"bytes"
	"encoding/json"
	"regexp"

	"github.com/batchagent/batchagent/pkg/jsonschema"
)

// maxKeys limits the keys of one mapping of a spec. The time of the YAML parser grows with its square. No accepted
// schema has more properties.
const maxKeys = jsonschema.MaxSubschemas

// tooManyKeys returns the line on which a mapping exceeds maxKeys keys, or 0.
func tooManyKeys(data []byte) int {
	if start := bytes.TrimLeft(data, " \t\r\n"); len(start) > 0 && start[0] == '{' && json.Valid(data) {
		return wideObject(data)
	}
	return wideBlock(data)
}

// wideObject is tooManyKeys for valid JSON.
func wideObject(data []byte) int {
	var keys []int // number of keys of each open object and array
	line, quoted := 1, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '\n':
			line++
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			keys = append(keys, 0)
		case c == '}' || c == ']':
			keys = keys[:len(keys)-1]
		case c == ':':
			if keys[len(keys)-1]++; keys[len(keys)-1] > maxKeys {
				return line
			}
		}
	}
	return 0
}

// keyLine matches a line of YAML that may be a key of a mapping in block style: "key: value", "'a:b': value" or "? key".
// A line of a sequence begins a new mapping.
var keyLine = regexp.MustCompile(`^ *(\?(\s|$)|[^\s#].*:(\s|$))`)

// itemLine matches a line of a sequence in block style.
var itemLine = regexp.MustCompile(`^ *-(\s|$)`)

// maxDocuments limits the documents of a file. A valid file has one; the time of the YAML parser grows with their
// square.
const maxDocuments = 100

// tooManyDocuments returns the line on which a file exceeds maxDocuments documents, or 0.
func tooManyDocuments(data []byte) int {
	line, documents := 0, 0
	for text := range bytes.Lines(data) {
		line++
		if rest, begins := bytes.CutPrefix(text, []byte("---")); begins && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0) {
			if documents++; documents > maxDocuments {
				return line
			}
		}
	}
	return 0
}

// wideBlock is tooManyKeys for YAML in block style.
func wideBlock(data []byte) int {
	type level struct{ indent, keys int }
	var open []level
	line := 0
	for text := range bytes.Lines(data) {
		line++
		rest := bytes.TrimLeft(text, " ")
		if len(bytes.TrimSpace(rest)) == 0 || rest[0] == '#' {
			continue
		}
		indent := len(text) - len(rest)
		for len(open) > 0 && open[len(open)-1].indent > indent {
			open = open[:len(open)-1]
		}
		if itemLine.Match(text) || !keyLine.Match(text) {
			continue
		}
		if len(open) == 0 || open[len(open)-1].indent < indent {
			open = append(open, level{indent: indent})
		}
		if last := &open[len(open)-1]; last.keys < maxKeys {
			last.keys++
		} else {
			return line
		}
	}
	return 0
}

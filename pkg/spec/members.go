package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/batchagent/batchagent/pkg/strictyaml"
)

// checkMembers refuses JSON with two members of the same name in one object, at any depth, because readers disagree on
// the one that counts. Names are compared in Unicode's form NFC. raw must be valid JSON.
//
// It returns the names of the outermost object's members in their order.
func checkMembers(raw []byte) ([]string, error) {
	s := memberScanner{rest: raw}
	err := s.value("")
	return s.outer, err
}

// memberScanner scans valid JSON for the names of members.
type memberScanner struct {
	rest  []byte
	depth int
	outer []string // names of the members of the outermost object
}

// value skips one value. path is its place, for messages.
func (s *memberScanner) value(path string) error {
	s.space()
	switch s.rest[0] {
	case '{':
		return s.object(path)
	case '[':
		return s.array(path)
	case '"':
		s.text()
		return nil
	}
	end := bytes.IndexAny(s.rest, ",]} \t\r\n")
	if end < 0 {
		end = len(s.rest)
	}
	s.rest = s.rest[end:]
	return nil
}

func (s *memberScanner) object(path string) error {
	names := map[string]struct{}{}
	s.depth++
	defer func() { s.depth-- }()
	for s.next('}') {
		name, err := memberName(s.text())
		if err != nil {
			return err
		}
		at := strictyaml.Join(path, name)
		if _, twice := names[name]; twice {
			return fmt.Errorf("the field %q is given twice", strictyaml.Shorten(at))
		}
		names[name] = struct{}{}
		if s.depth == 1 {
			s.outer = append(s.outer, name)
		}
		s.space()
		s.rest = s.rest[1:] // the colon
		if err := s.value(at); err != nil {
			return err
		}
	}
	return nil
}

func (s *memberScanner) array(path string) error {
	s.depth++
	defer func() { s.depth-- }()
	for s.next(']') {
		if err := s.value(path + "[]"); err != nil {
			return err
		}
	}
	return nil
}

// next skips the bracket or comma before an element. At the end it skips the closing bracket and returns false.
func (s *memberScanner) next(closing byte) bool {
	s.space()
	if s.rest[0] != closing {
		s.rest = s.rest[1:]
		s.space()
	}
	if s.rest[0] != closing {
		return true
	}
	s.rest = s.rest[1:]
	return false
}

// text skips a string and returns it with its quotes.
func (s *memberScanner) text() []byte {
	for end := 1; ; end++ {
		end += bytes.IndexByte(s.rest[end:], '"')
		escapes := 0
		for s.rest[end-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			text := s.rest[:end+1]
			s.rest = s.rest[end+1:]
			return text
		}
	}
}

func (s *memberScanner) space() { s.rest = bytes.TrimLeft(s.rest, " \t\r\n") }

// memberName decodes the name of a member.
func memberName(quoted []byte) (string, error) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return norm.NFC.String(string(quoted[1 : len(quoted)-1])), nil
	}
	var name string
	err := json.Unmarshal(quoted, &name)
	return norm.NFC.String(name), err
}

// explainJSON adds the usual mistake behind a syntax error to its message.
func explainJSON(raw []byte, err error) error {
	text := strings.TrimSpace(string(raw[:min(len(raw), 1<<10)]))
	syntax, ok := errors.AsType[*json.SyntaxError](err)
	at := ""
	if ok && syntax.Offset > 0 && syntax.Offset <= int64(len(raw)) {
		at = string(raw[syntax.Offset-1 : min(int64(len(raw)), syntax.Offset+8)])
	}
	switch {
	case strings.HasPrefix(at, "NaN"), strings.HasPrefix(at, "Infinity"):
		return fmt.Errorf("not valid JSON: NaN and Infinity are no JSON values; write null: %w", err)
	case strings.HasPrefix(at, ",") && len(bytes.TrimSpace(raw[syntax.Offset:])) == 0:
		return fmt.Errorf("not valid JSON: the line ends with a comma: %w", err)
	case text == "{" || text == "[":
		return fmt.Errorf("not valid JSON: a value spans several lines; write each value on one line: %w", err)
	case strings.HasPrefix(text, "{'"):
		return fmt.Errorf("not valid JSON: write names and texts in double quotes: %w", err)
	}
	return fmt.Errorf("not valid JSON: %w", err)
}

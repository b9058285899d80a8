package modeljson

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// quotes returns the opening quote at the reader's position and the quote that ends its string. Both are "" without an opening
// quote.
func (r *reader) quotes() (open, end string) {
	if r.pos < len(r.text) && r.text[r.pos] == '"' {
		return `"`, `"`
	}
	if !r.loose {
		return "", ""
	}
	for _, q := range [][2]string{{"'", "'"}, {"“", "”"}, {"‘", "’"}} {
		if strings.HasPrefix(r.text[r.pos:], q[0]) {
			return q[0], q[1]
		}
	}
	return "", ""
}

// str reads a string. open is the length of its opening quote in bytes, and end its closing quote. str copies escapes
// unchanged.
func (r *reader) str(open int, end string) (string, *Error) {
	r.pos += open
	r.out = append(r.out, '"')
	var value []byte
	from := r.pos // of the text that is in neither value nor out
	take := func() {
		value = append(value, r.text[from:r.pos]...)
		r.out = append(r.out, r.text[from:r.pos]...)
	}
	for r.pos < len(r.text) {
		c := r.text[r.pos]
		switch {
		case c == end[0] && strings.HasPrefix(r.text[r.pos:], end):
			take()
			r.pos += len(end)
			r.out = append(r.out, '"')
			return string(value), nil
		case c == '\\':
			take()
			plain, err := r.escape()
			if err != nil {
				return "", err
			}
			value = append(value, plain...)
			from = r.pos
		case c == '"': // in a string with other quotes
			take()
			value, r.out = append(value, '"'), append(r.out, `\"`...)
			r.pos++
			from = r.pos
		case c < ' ':
			written, ok := breaks[c]
			if !ok || !r.loose {
				return "", r.fault(r.pos, fmt.Sprintf("the control character U+%04X inside a string, which needs an escape", c))
			}
			take()
			value, r.out = append(value, c), append(r.out, written...)
			r.pos++
			from = r.pos
		case c < utf8.RuneSelf:
			r.pos++
		default:
			char, size := utf8.DecodeRuneInString(r.text[r.pos:])
			if char == utf8.RuneError && size == 1 {
				return "", r.fault(r.pos, "invalid UTF-8")
			}
			r.pos += size
		}
	}
	return "", r.cut()
}

// breaks are control characters that models write into strings without escaping them.
var breaks = map[byte]string{'\n': `\n`, '\r': `\r`, '\t': `\t`}

var escapes = map[byte]string{'"': `"`, '\\': `\`, '/': `/`, 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t"}

// escape reads an escape and returns the text that it denotes.
func (r *reader) escape() (string, *Error) {
	at := r.pos
	if r.pos += 2; r.pos > len(r.text) {
		return "", r.cut()
	}
	c := r.text[at+1]
	plain, known := escapes[c]
	switch {
	case known:
		r.out = append(r.out, '\\', c)
		return plain, nil
	case c == '\'' && r.loose:
		r.out = append(r.out, c)
		return "'", nil
	case c != 'u':
		_, size := utf8.DecodeRuneInString(r.text[at+1:])
		return "", r.fault(at, fmt.Sprintf("the escape %q, which JSON does not have", r.text[at:at+1+size]))
	}
	unit, err := r.unit(at)
	if err != nil {
		return "", err
	}
	char := rune(unit)
	if utf16.IsSurrogate(char) {
		low := rune(-1)
		if next := r.pos; strings.HasPrefix(r.text[next:], `\u`) {
			r.pos += 2
			if unit, err = r.unit(next); err != nil {
				return "", err
			}
			low = rune(unit)
		}
		if char = utf16.DecodeRune(char, low); char == utf8.RuneError {
			return "", r.fault(at, fmt.Sprintf("%s, which is half of a surrogate pair", r.text[at:at+6]))
		}
	}
	r.out = append(r.out, r.text[at:r.pos]...)
	return string(char), nil
}

// unit reads the four hexadecimal digits of the escape at an offset.
func (r *reader) unit(at int) (uint16, *Error) {
	if r.pos+4 > len(r.text) {
		return 0, r.cut()
	}
	unit, err := strconv.ParseUint(r.text[r.pos:r.pos+4], 16, 16)
	if err != nil {
		return 0, r.fault(at, `an escape \u without four hexadecimal digits`)
	}
	r.pos += 4
	return uint16(unit), nil
}

package modelapi

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// value is a JSON value in a valid text. Its raw text shares the memory of the request's body, so that only texts with escapes are
// copied, each once. The zero value is a missing one.
type value struct{ raw string }

func (v value) exists() bool   { return v.raw != "" }
func (v value) isNull() bool   { return v.raw == "null" }
func (v value) isObject() bool { return v.starts('{') }
func (v value) isArray() bool  { return v.starts('[') }
func (v value) isString() bool { return v.starts('"') }
func (v value) isNumber() bool {
	return v.starts('-') || v.raw != "" && v.raw[0] >= '0' && v.raw[0] <= '9'
}

func (v value) starts(b byte) bool { return v.raw != "" && v.raw[0] == b }

// text returns the text of a string; "" for any other value.
func (v value) text() string {
	if !v.isString() {
		return ""
	}
	return unquoted(v.raw[1 : len(v.raw)-1])
}

// members calls each for the members of an object until it returns false.
func (v value) members(each func(name string, v value) bool) {
	if !v.isObject() {
		return
	}
	for i := skipSpace(v.raw, 1); v.raw[i] != '}'; {
		end := endOf(v.raw, i)
		name := unquoted(v.raw[i+1 : end-1])
		i = skipSpace(v.raw, skipSpace(v.raw, end)+1) // after the colon
		end = endOf(v.raw, i)
		if !each(name, value{v.raw[i:end]}) {
			return
		}
		i = next(v.raw, end)
	}
}

// values calls each for the values of an array until it returns false.
func (v value) values(each func(v value) bool) {
	if !v.isArray() {
		return
	}
	for i := skipSpace(v.raw, 1); v.raw[i] != ']'; {
		end := endOf(v.raw, i)
		if !each(value{v.raw[i:end]}) {
			return
		}
		i = next(v.raw, end)
	}
}

// get returns the first member with a name; the zero value without one.
func (v value) get(name string) (found value) {
	v.members(func(n string, m value) bool {
		if n == name {
			found = m
		}
		return n != name
	})
	return found
}

// next returns the start of the value after the comma at or after a position, or the position of the closing bracket.
func next(text string, i int) int {
	if i = skipSpace(text, i); text[i] == ',' {
		return skipSpace(text, i+1)
	}
	return i
}

func skipSpace(text string, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\n' || text[i] == '\r' || text[i] == '\t') {
		i++
	}
	return i
}

// endOf returns the position after the value at a position.
func endOf(text string, i int) int {
	switch text[i] {
	case '"':
		return closing(text, i) + 1
	case '{', '[':
		for depth := 0; ; {
			switch text[i] {
			case '"':
				i = closing(text, i)
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			if i++; depth == 0 {
				return i
			}
		}
	}
	if n := strings.IndexAny(text[i:], ",]} \n\r\t"); n >= 0 {
		return i + n
	}
	return len(text)
}

// unquoted returns the text of a string's content. Half of a surrogate pair becomes U+FFFD.
func unquoted(s string) string {
	at := strings.IndexByte(s, '\\')
	if at < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for ; at >= 0; at = strings.IndexByte(s, '\\') {
		b.WriteString(s[:at])
		switch c := s[at+1]; c {
		case 'u':
			r := unit(s[at:])
			s = s[at+6:]
			if utf16.IsSurrogate(r) {
				if pair := utf16.DecodeRune(r, unit(s)); pair != utf8.RuneError {
					r, s = pair, s[6:]
				}
			}
			b.WriteRune(r) // half of a pair is written as U+FFFD
			continue
		case 'b', 'f', 'n', 'r', 't':
			b.WriteByte(controls[c])
		default:
			b.WriteByte(c)
		}
		s = s[at+2:]
	}
	b.WriteString(s)
	return b.String()
}

var controls = map[byte]byte{'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unit returns the code unit of an escape such as \u0041 at the start of a text; 0 without one.
func unit(s string) rune {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0
	}
	n, err := strconv.ParseUint(s[2:6], 16, 16)
	if err != nil {
		return 0
	}
	return rune(n)
}

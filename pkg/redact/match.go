package redact

import (
	"encoding/hex"
	"fmt"
	"html"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// maxNested is how often an escape may itself be escaped, as in JSON within JSON.
	maxNested = 3
	// maxSlashes is how many backslashes such an escape has.
	maxSlashes = 1 << maxNested
	// maxEntity is the length of the longest entity of a character that a secret may contain: &DiacriticalGrave;
	maxEntity = 18
)

// unit is one character of a form of a secret, in all its notations.
type unit struct {
	chars []char // the character, and its other alphabets
	wraps bool   // a line may end before the character
}

// char is a character in one alphabet.
type char struct {
	text    string
	escaped bool     // the escapes of URLs, JSON, programming languages and HTML match too
	bytes   []string // with escaped set, each byte as two hexadecimal digits
	units   []string // and each unit of UTF-16 as four; nil for an invalid byte
	point   []string // and the code point as eight; nil for an invalid byte
}

func newChar(text string, escaped bool) char {
	c := char{text: text, escaped: escaped}
	if !escaped {
		return c
	}
	for i := range len(text) {
		c.bytes = append(c.bytes, hex.EncodeToString([]byte{text[i]}))
	}
	if r, n := utf8.DecodeRuneInString(text); r != utf8.RuneError || n > 1 {
		for _, u := range utf16.AppendRune(nil, r) {
			c.units = append(c.units, fmt.Sprintf("%04x", u))
		}
		c.point = []string{fmt.Sprintf("%08x", r)}
	}
	return c
}

// starts returns the bytes with which a notation of u starts.
func (u unit) starts() []byte {
	var all []byte
	if u.wraps {
		all = append(all, '\n', '\r', '\\')
	}
	for _, c := range u.chars {
		if all = append(all, c.text[0]); c.escaped {
			all = append(all, '%', '\\', '&')
		}
	}
	return all
}

// escapeStarts returns the pairs of bytes with which an escape of c starts.
func (c char) escapeStarts() [][2]byte {
	if !c.escaped {
		return nil
	}
	digit := c.bytes[0][0]
	pairs := [][2]byte{
		{'%', '2'}, {'%', digit}, {'%', strings.ToUpper(string(digit))[0]},
		{'\\', '\\'}, {'\\', 'u'}, {'\\', 'U'}, {'\\', 'x'}, {'\\', c.text[0]}, {'\\', letters[c.text]},
		{'&', '#'}, {'&', 'a'},
	}
	if c.isNamed() {
		for b := byte('a'); b <= 'z'; b++ {
			pairs = append(pairs, [2]byte{'&', b}, [2]byte{'&', b - 'a' + 'A'})
		}
	}
	return pairs
}

// isNamed reports whether HTML may have a name for c.
func (c char) isNamed() bool { return len(c.text) > 1 || !isAlphanumeric(c.text[0]) }

// ends appends the positions behind each notation of u at a position of text. It returns open if text ends within one.
func (u unit) ends(to []int, text []byte, at int) (_ []int, open bool) {
	if u.wraps {
		at = afterBreak(text, at)
	}
	if at >= len(text) {
		return to, true
	}
	for _, c := range u.chars {
		end, cut := after(text, at, c.text)
		if end >= 0 {
			to = append(to, end)
		}
		if c.escaped && !cut {
			to, cut = c.escapes(to, text, at)
		}
		open = open || cut
	}
	return to, open
}

func (c char) escapes(to []int, text []byte, at int) (_ []int, open bool) {
	switch text[at] {
	case '%':
		return c.percent(to, text, at)
	case '\\':
		return c.slashed(to, text, at)
	case '&':
		return c.entity(to, text, at)
	}
	return to, false
}

// percent matches c in a URL: %2f. A percent sign may be escaped again: %252f.
func (c char) percent(to []int, text []byte, at int) (_ []int, open bool) {
	for _, code := range c.bytes {
		if at, open = after(text, at, "%"); at < 0 {
			return to, open
		}
		for range maxNested {
			again, open := after(text, at, "25")
			if open {
				return to, true
			}
			if again < 0 {
				break
			}
			if at = again; c.text == "%" {
				to = append(to, at)
			}
		}
		if c.text == "%" {
			return to, false
		}
		if at, open = afterDigits(text, at, code); at < 0 {
			return to, open
		}
	}
	return append(to, at), false
}

// slashed matches c in JSON, and in most programming languages: \/, \n, \u002f, \x2f. Each backslash may be escaped again.
func (c char) slashed(to []int, text []byte, at int) (_ []int, open bool) {
	end := afterSlashes(text, at)
	if c.text == `\` {
		for i := at + 2; i <= end; i++ {
			to = append(to, i)
		}
	}
	if end == len(text) {
		return to, true
	}
	var behind int
	switch {
	case text[end] == 'u' && c.units != nil:
		behind, open = sequence(text, end, "u", c.units)
	case text[end] == 'U' && c.point != nil:
		behind, open = sequence(text, end, "U", c.point)
	case text[end] == 'x':
		behind, open = sequence(text, end, "x", c.bytes)
	case text[end] == c.text[0] && len(c.text) == 1 && !isAlphanumeric(text[end]), text[end] == letters[c.text]:
		behind = end + 1
	default:
		return to, false
	}
	if behind >= 0 {
		to = append(to, behind)
	}
	return to, open
}

// letters are the escapes of JSON that end with a letter.
var letters = map[string]byte{"\n": 'n', "\r": 'r', "\t": 't', "\b": 'b', "\f": 'f'}

// sequence matches escapes with a mark before each number.
func sequence(text []byte, at int, mark string, numbers []string) (_ int, open bool) {
	for i, n := range numbers {
		if i > 0 {
			next := afterSlashes(text, at)
			if next == len(text) {
				return -1, true
			}
			if next == at {
				return -1, false
			}
			at = next
		}
		if at, open = after(text, at, mark); at < 0 {
			return -1, open
		}
		if at, open = afterDigits(text, at, n); at < 0 {
			return -1, open
		}
	}
	return at, false
}

func afterSlashes(text []byte, at int) int {
	end := at
	for end < len(text) && end < at+maxSlashes && text[end] == '\\' {
		end++
	}
	return end
}

// entity matches c in HTML and XML.
func (c char) entity(to []int, text []byte, at int) (_ []int, open bool) {
	if c.text == "&" {
		for end, i := at+1, 0; i < maxNested; i++ {
			if end, _ = after(text, end, "amp;"); end < 0 {
				break
			}
			to = append(to, end)
		}
	}
	char, end, open := entity(text, at)
	if char == c.text {
		to = append(to, end)
	}
	return to, open
}

// entity returns the character that &amp;, &#38; or &#x26; stands for, and the position behind it. The ampersand may be escaped
// again. Without an entity it returns "", and open if text ends within one.
func entity(text []byte, at int) (char string, behind int, open bool) {
	name := at + 1
	for range maxNested {
		again, open := after(text, name, "amp;")
		if open {
			return "", 0, true
		}
		if again < 0 {
			break
		}
		name = again
	}
	end := name
	for end < len(text) && end < name+maxEntity && (text[end] == '#' || isAlphanumeric(text[end])) {
		end++
	}
	switch {
	case end == len(text):
		return "", 0, end < name+maxEntity
	case text[end] != ';':
		return "", 0, false
	}
	written := "&" + string(text[name:end+1])
	if char = html.UnescapeString(written); char == written {
		return "", 0, false
	}
	return char, end + 1, false
}

// afterBreak returns the position behind a line end, also one of JSON.
func afterBreak(text []byte, at int) int {
	for range 2 { // \r\n
		end := afterSlashes(text, at)
		switch {
		case end == len(text):
			return end
		case end == at && (text[end] == '\n' || text[end] == '\r'), end > at && (text[end] == 'n' || text[end] == 'r'):
			at = end + 1
		default:
			return at
		}
	}
	return at
}

// after returns the position behind want at a position of text, or -1. It returns open if text ends within want.
func after(text []byte, at int, want string) (end int, open bool) {
	n := min(len(want), len(text)-at)
	switch {
	case string(text[at:at+n]) != want[:n]:
		return -1, false
	case n < len(want):
		return -1, true
	}
	return at + n, false
}

// afterDigits is [after] for hexadecimal digits, in either case.
func afterDigits(text []byte, at int, want string) (end int, open bool) {
	n := min(len(want), len(text)-at)
	switch {
	case !strings.EqualFold(string(text[at:at+n]), want[:n]):
		return -1, false
	case n < len(want):
		return -1, true
	}
	return at + n, false
}

func isAlphanumeric(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

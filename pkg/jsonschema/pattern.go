package jsonschema

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"
)

const (
	matchTime   = 250 * time.Millisecond // of one match that may backtrack
	matchTotal  = time.Second            // of all matches in one check that may take long
	maxProgram  = 2_000                  // instructions of a program that cannot be interrupted
	maxLinear   = 50_000_000             // instructions times bytes of one match that cannot be interrupted
	maxUntimed  = 100_000                // instructions times bytes of a match whose time does not count
	syntaxChars = `^$\.*+?()[]{}|/`
)

// pattern is a regular expression of ECMA-262 with the u flag. Most patterns run in linear time on Go's engine, which gives the
// same results for them. The others backtrack, so their matches are limited in time and memory.
type pattern struct {
	text     string
	linear   *regexp.Regexp // nil if Go has no equivalent pattern
	size     int            // instructions of linear
	backward *regexp2.Regexp
}

// compilePattern reads a pattern.
func compilePattern(text string) (*pattern, error) {
	if len(text) > MaxPattern {
		return nil, &LimitError{fmt.Sprintf("the pattern %.40q… has %d bytes", text, len(text)), MaxPattern}
	}
	strict, err := strictPattern(text)
	if err != nil {
		return nil, err
	}
	re, err := regexp2.Compile(strict, regexp2.ECMAScript|regexp2.Unicode)
	if err != nil {
		return nil, fmt.Errorf("%.80q is no regular expression: %s", text, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	re.MatchTimeout = matchTime
	p := &pattern{text: text, backward: re}
	if same, ok := goPattern(strict); ok {
		p.compileLinear(same)
	}
	return p, nil
}

func (p *pattern) compileLinear(same string) {
	parsed, err := syntax.Parse(same, syntax.Perl)
	if err != nil {
		return
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil || len(program.Inst) > maxProgram {
		return
	}
	if p.linear, err = regexp.Compile(same); err == nil {
		p.size = len(program.Inst)
	}
}

// match reports whether s contains a match. It ends the check if that takes too long.
func (p *pattern) match(s string, b *budget) bool {
	if !b.spend(1 + len(s)/64) {
		return false
	}
	if p.linear != nil && len(s)*p.size <= maxLinear {
		if len(s)*p.size < maxUntimed {
			return b.spend(len(s)*p.size/4096) && p.linear.MatchString(s)
		}
		began := time.Now()
		ok := p.linear.MatchString(s)
		return b.match(time.Since(began), p) && ok
	}
	began := time.Now()
	ok, err := p.backward.MatchString(s)
	if !b.match(time.Since(began), p) {
		return false
	}
	switch {
	case errors.Is(err, regexp2.ErrBacktrackingStackLimit):
		b.err = &LimitError{What: fmt.Sprintf("the pattern %.80q needs too much memory on %.40q", p.text, s)}
	case err != nil:
		b.err = &LimitError{What: fmt.Sprintf("the pattern %.80q takes longer than %s on %.40q", p.text, matchTime, s)}
	}
	return ok && err == nil
}

// strictPattern returns the pattern in the form that the u flag requires. It escapes characters that the flag forbids and all
// engines read alike: \- and other punctuation with a needless backslash, and - beside a class such as \w. It refuses syntax
// that engines read differently.
func strictPattern(p string) (string, error) {
	var out strings.Builder
	class := false
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case c == '\\' && i+1 < len(p):
			i++
			c = p[i]
			switch {
			case strings.IndexByte(syntaxChars, c) >= 0 || class && c == '-' || c >= 0x80 || strings.IndexByte("dDwWsSbBpPtnvfrcxuk0123456789", c) >= 0:
				out.WriteByte('\\')
				out.WriteByte(c)
			case c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z':
				return "", fmt.Errorf(`%.80q: \%c is not an escape of ECMA-262; use ^ and $ for the ends, and no backslash for the letter`, p, c)
			default:
				fmt.Fprintf(&out, `\x%02x`, c)
			}
			if class && strings.IndexByte("dDwWsS", c) >= 0 && i+2 < len(p) && p[i+1] == '-' && p[i+2] != ']' {
				out.WriteString(`\-`)
				i++
			}
		case class:
			class = c != ']'
			out.WriteByte(c)
		case c == '[':
			class = true
			out.WriteByte(c)
		case c == '(' && i+2 < len(p) && p[i+1] == '?' && strings.IndexByte(":=!<", p[i+2]) < 0:
			return "", fmt.Errorf(`%.80q: %q is not a group of ECMA-262; patterns have no flags`, p, p[i:min(len(p), i+4)])
		default:
			out.WriteByte(c)
		}
	}
	return out.String(), nil
}

// spaces are the characters of \s in ECMA-262, for use inside a class in Go.
const spaces = `\t\n\v\f\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}`

// goPattern translates a pattern for Go's engine. ok is false for syntax without an equivalent in Go: look-around, references
// to groups, scripts, and some rare escapes.
func goPattern(p string) (_ string, ok bool) {
	var out strings.Builder
	class := false
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case c == '\\':
			n, ok := goEscape(&out, p[i:], class)
			if !ok {
				return "", false
			}
			i += n - 1
		case class && c == '[':
			out.WriteString(`\[`)
		case class:
			class = c != ']'
			out.WriteByte(c)
		case c == '[':
			if rest := strings.TrimPrefix(p[i+1:], "^"); strings.HasPrefix(rest, "]") {
				return "", false
			}
			class = true
			out.WriteByte(c)
			if strings.HasPrefix(p[i+1:], "^") {
				out.WriteByte('^')
				i++
			}
		case c == '.':
			out.WriteString(`[^\n\r\x{2028}\x{2029}]`)
		case c == '(' && strings.HasPrefix(p[i:], "(?") && !strings.HasPrefix(p[i:], "(?:"):
			return "", false
		case c == '{':
			i += goRepeat(&out, p[i:]) - 1
		default:
			out.WriteByte(c)
		}
	}
	return out.String(), true
}

// repeat is a quantifier in braces. Its groups are the numbers without leading zeros.
var repeat = regexp.MustCompile(`^\{0*(\d+)(?:(,)(?:0*(\d+))?)?\}`)

// goRepeat translates the quantifier at the start of p and returns its length. Go takes braces around a number with a leading zero for text.
func goRepeat(out *strings.Builder, p string) (n int) {
	found := repeat.FindStringSubmatch(p)
	if found == nil {
		out.WriteByte('{')
		return 1
	}
	out.WriteString("{" + found[1] + found[2] + found[3] + "}")
	return len(found[0])
}

// goEscape translates the escape at the start of p and returns its length.
func goEscape(out *strings.Builder, p string, class bool) (n int, ok bool) {
	if len(p) < 2 {
		return 0, false
	}
	switch c := p[1]; {
	case c == 's' && class:
		out.WriteString(spaces)
		return 2, true
	case c == 's':
		out.WriteString("[" + spaces + "]")
		return 2, true
	case c == 'S' && !class:
		out.WriteString("[^" + spaces + "]")
		return 2, true
	case c == 'b' && class || c == 'B' && class:
		return 0, false
	case strings.IndexByte("dDwWbBtnvfr-", c) >= 0 || strings.IndexByte(syntaxChars, c) >= 0:
		out.WriteString(p[:2])
		return 2, true
	case c == 'x' && len(p) >= 4:
		out.WriteString(p[:4])
		return 4, true
	case c == 'u' && len(p) >= 6 && p[2] != '{':
		code, err := strconv.ParseUint(p[2:6], 16, 16)
		if err != nil || code >= 0xD800 && code < 0xE000 {
			return 0, false
		}
		fmt.Fprintf(out, `\x{%x}`, code)
		return 6, true
	case (c == 'p' || c == 'P') && len(p) >= 5 && p[2] == '{':
		end := strings.IndexByte(p, '}')
		if end < 0 || end > 5 || p[3] < 'A' || p[3] > 'Z' { // a general category such as L or Lu
			return 0, false
		}
		out.WriteString(p[:end+1])
		return end + 1, true
	}
	return 0, false
}

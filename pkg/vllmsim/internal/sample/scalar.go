package sample

import (
	"fmt"
	"math"
	"net/mail"
	"net/url"
	"regexp/syntax"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	span    = 100    // numbers without an upper limit stay this close to the lower limit
	maxText = 65_536 // bytes of one string
	mark    = "simulated: "
)

// bounds returns the closed range of numbers.
func (n *node) bounds() (lo, hi float64) {
	lo, hi = n.lo, n.hi
	switch {
	case math.IsNaN(lo) && math.IsNaN(hi):
		lo, hi = 0, span
		if n.multiple > 0 {
			hi = n.multiple * span
		}
	case math.IsNaN(lo):
		lo = hi - span*max(1, n.multiple)
		if hi >= 0 {
			lo = min(0, hi)
		}
		if n.hiOpen && hi <= lo {
			lo = hi - span
		}
	case math.IsNaN(hi):
		hi = lo + span*max(1, n.multiple)
	}
	return lo, hi
}

func (g *drawing) integer(n *node, item int) int64 {
	lo, hi := n.bounds()
	first, last := math.Ceil(lo), math.Floor(hi)
	if n.loOpen && first == lo {
		first++
	}
	if n.hiOpen && last == hi {
		last--
	}
	step := 1.0
	if n.multiple > 0 {
		if step = n.multiple; step != math.Trunc(step) {
			step *= math.Pow10(n.multipleDigit) // a whole multiple of the step, so still a multiple
		}
		first = math.Ceil(first/step) * step
	}
	if last < first {
		return clampInt(first)
	}
	choices := math.Min(math.Floor((last-first)/step)+1, 1<<40)
	k := (g.seedFor(item) + uint64(item)) % uint64(choices)
	return clampInt(first + float64(k)*step)
}

func clampInt(f float64) int64 {
	return int64(max(-(1 << 62), min(1<<62, f)))
}

func (g *drawing) number(dst []byte, n *node, item int) []byte {
	lo, hi := n.bounds()
	if n.multiple > 0 {
		k := math.Ceil(lo / n.multiple)
		if n.loOpen && k*n.multiple <= lo {
			k++
		}
		last := math.Floor(hi / n.multiple)
		if n.hiOpen && last*n.multiple >= hi {
			last--
		}
		if last > k {
			k += float64((g.seedFor(item) + uint64(item)) % uint64(min(last-k+1, 1<<40)))
		}
		return strconv.AppendFloat(dst, k*n.multiple, 'f', n.multipleDigit, 64)
	}
	part := float64((g.seedFor(item)+uint64(item)*7)%99+1) / 100
	v := lo + (hi-lo)*part
	if r := math.Round(v*100) / 100; r > lo && r < hi {
		v = r
	}
	return strconv.AppendFloat(dst, v, 'f', -1, 64)
}

// seedFor returns a seed. It is the same for all items of an array, so that only their numbers distinguish them.
func (g *drawing) seedFor(item int) uint64 {
	if item > 0 {
		return mix(g.src.Seed)
	}
	return g.rand()
}

// text chooses a string: from the source by name, else from the format or pattern, else words.
func (g *drawing) text(n *node, name string, item int) string {
	if g.src.Text != nil && item == 0 {
		if t, ok := g.src.Text(name); ok && n.takes(t) {
			return t
		}
	}
	if n.pattern != nil {
		var b strings.Builder
		g.match(&b, n.pattern, max(0, n.minLen))
		return b.String()
	}
	if t, ok := formatted(n.format, g.seedFor(item)+uint64(item)); ok {
		return t
	}
	words := g.src.Words
	if words == "" {
		words = "simulated"
	}
	t := mark + words
	if item > 0 {
		t = fmt.Sprintf("%s%d %s", mark, item+1, words)
	}
	return fit(t, n.minLen, n.maxLen)
}

// takes reports whether a text satisfies the constraints that need no validator.
func (n *node) takes(t string) bool {
	size := utf8.RuneCountInString(t)
	if size < n.minLen || n.maxLen >= 0 && size > n.maxLen {
		return false
	}
	switch n.format {
	case "", "regex":
	case "uri", "url", "uri-reference", "iri":
		u, err := url.Parse(t)
		if err != nil || !u.IsAbs() {
			return false
		}
	case "email":
		if a, err := mail.ParseAddress(t); err != nil || a.Address != t {
			return false
		}
	default:
		return false
	}
	return n.pattern == nil || n.matches != nil && n.matches.MatchString(t)
}

// fit adjusts a text to at least lo and at most hi characters; hi < 0 is no limit.
func fit(t string, lo, hi int) string {
	lo = min(lo, maxText)
	size := utf8.RuneCountInString(t)
	if size < lo {
		t += strings.Repeat(".", lo-size)
		size = lo
	}
	if hi < 0 || size <= hi {
		return t
	}
	return string([]rune(t)[:hi])
}

func formatted(format string, seed uint64) (string, bool) {
	switch format {
	case "date-time":
		return fmt.Sprintf("2026-%02d-%02dT%02d:00:00Z", seed%12+1, seed%28+1, seed%24), true
	case "date":
		return fmt.Sprintf("2026-%02d-%02d", seed%12+1, seed%28+1), true
	case "time":
		return fmt.Sprintf("%02d:%02d:00Z", seed%24, seed%60), true
	case "duration":
		return fmt.Sprintf("PT%dM", seed%60+1), true
	case "email", "idn-email":
		return fmt.Sprintf("simulated%d@example.com", seed%1000), true
	case "hostname", "idn-hostname":
		return fmt.Sprintf("host%d.example.com", seed%1000), true
	case "uri", "url", "iri", "uri-reference", "iri-reference", "uri-template":
		return fmt.Sprintf("https://example.com/simulated/%d", seed%1000), true
	case "uuid":
		h := mix(seed)
		return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", uint32(h), uint16(h>>32), h>>48&0xfff, h>>36&0xfff, mix(h)&0xffffffffffff), true
	case "ipv4":
		return fmt.Sprintf("192.0.2.%d", seed%254+1), true
	case "ipv6":
		return fmt.Sprintf("2001:db8::%x", seed%0xfffe+1), true
	case "json-pointer":
		return "/simulated", true
	case "relative-json-pointer":
		return "0", true
	case "regex":
		return "simulated", true
	}
	return "", false
}

// match appends a text that the expression matches. Open-ended repetitions continue until the text has minLen characters.
func (g *drawing) match(b *strings.Builder, re *syntax.Regexp, minLen int) {
	if b.Len() > maxText {
		return
	}
	repeat := func(lo, hi int) {
		for i := 0; i < lo || b.Len() < min(minLen, maxText) && (hi < 0 || i < hi) && i < maxText; i++ {
			before := b.Len()
			g.match(b, re.Sub[0], 0)
			if i >= lo && b.Len() == before {
				return
			}
		}
	}
	switch re.Op {
	case syntax.OpLiteral:
		b.WriteString(string(re.Rune))
	case syntax.OpCharClass:
		b.WriteRune(g.classRune(re.Rune))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte('a' + byte(g.rand()%26))
	case syntax.OpCapture:
		g.match(b, re.Sub[0], minLen)
	case syntax.OpConcat:
		for _, s := range re.Sub {
			g.match(b, s, minLen)
		}
	case syntax.OpAlternate:
		g.match(b, re.Sub[g.choose(len(re.Sub))], minLen)
	case syntax.OpStar:
		repeat(0, -1)
	case syntax.OpPlus:
		repeat(1, -1)
	case syntax.OpQuest:
		repeat(0, 1)
	case syntax.OpRepeat:
		repeat(re.Min, re.Max)
	}
}

// classRune returns a character of a class, preferably printable ASCII.
func (g *drawing) classRune(ranges []rune) rune {
	var choices []rune
	for i := 0; i+1 < len(ranges); i += 2 {
		for r := max(ranges[i], '!'); r <= min(ranges[i+1], '~'); r++ {
			choices = append(choices, r)
		}
	}
	if len(choices) > 0 {
		return choices[g.rand()%uint64(len(choices))]
	}
	if len(ranges) > 0 {
		return ranges[0]
	}
	return 'x'
}

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string. It escapes only quotes, backslashes and control characters.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\ufffd")
	}
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\r':
			dst = append(dst, '\\', 'r')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

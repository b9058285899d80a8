package spec

import (
	"regexp"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// wording is a prompt as its author wrote it. Text in braces is a placeholder if it is the name of a field, or a path
// into one. A wording therefore becomes a [Template] only once the fields of the inputs are known.
type wording []piece

// piece is text or, if name is set, a name in braces that may be a placeholder.
type piece struct {
	text       string // as written, with the braces
	name       string // text between the braces, in Unicode's form NFC
	open, shut int    // number of braces on each side
	offset     int    // in the prompt
	latex      bool   // after a LaTeX command, as in \textbf{name}
}

// maxName limits a name, in bytes.
const maxName = 1_000

var (
	identifier = regexp.MustCompile(`^[\p{L}_][\p{L}\p{Nd}_]*$`)
	latexHead  = regexp.MustCompile(`(\\[A-Za-z]+\*?(\[[^\[\]{}]*\])?(\{[^{}]*\})*|[\^_])$`)
)

// parseWording splits a prompt into pieces. Joined, the pieces are the prompt.
func parseWording(text string) wording {
	var d wording
	rest := 0 // where the text begins that is not yet in a piece
	for at := 0; ; {
		i := strings.IndexByte(text[at:], '{')
		if i < 0 {
			break
		}
		open := at + i
		from := open + countByte(text[open:], '{')
		inner := strings.IndexAny(text[from:], "{}")
		if inner < 0 {
			break
		}
		to := from + inner
		if at = to; text[to] == '{' {
			continue
		}
		at = to + countByte(text[to:], '}')
		if inner == 0 || inner > maxName {
			continue
		}
		if open > rest {
			d = append(d, piece{text: text[rest:open]})
		}
		d = append(d, piece{
			text: text[open:at], name: norm.NFC.String(text[from:to]), open: from - open, shut: at - to, offset: open,
			latex: latexHead.MatchString(text[max(0, open-200):open]),
		})
		rest = at
	}
	if rest < len(text) {
		d = append(d, piece{text: text[rest:]})
	}
	return d
}

// countByte returns how many times s repeats c at its beginning.
func countByte(s string, c byte) int {
	n := 0
	for n < len(s) && s[n] == c {
		n++
	}
	return n
}

// pairs returns how many braces on one side have a partner on the other.
func (p piece) pairs() int { return min(p.open, p.shut) }

// places reports whether the piece is a placeholder and no escape, if its name is a field.
func (p piece) places() bool { return p.name != "" && p.pairs()%2 == 1 }

// firm reports whether the piece is meant as a placeholder even if no field has its name.
func (p piece) firm() bool { return p.places() && !p.latex && identifier.MatchString(p.name) }

// names returns the possible placeholders of the wording, each once, in the order of their first use.
func (d wording) names() []string {
	var out []string
	seen := map[string]bool{}
	for _, p := range d {
		if p.places() && !seen[p.name] {
			seen[p.name] = true
			out = append(out, p.name)
		}
	}
	return out
}

// template replaces each name for which alias returns true by a placeholder of the returned name. All other text is
// kept. Doubled braces are an escape, unless literal is set.
func (d wording) template(literal bool, alias func(name string) (string, bool)) *Template {
	t := &builder{}
	for _, p := range d {
		if p.name == "" {
			t.appendText(p.text)
			continue
		}
		field, ok := alias(p.name)
		escape := !p.places() && !literal && (ok || identifier.MatchString(p.name))
		if !escape && (!ok || !p.places()) {
			t.appendText(p.text)
			continue
		}
		pairs := p.pairs()
		inside := p.text[p.open : len(p.text)-p.shut]
		t.appendText(strings.Repeat("{", p.open-pairs+pairs/2))
		if p.places() {
			t.appendField(part{field: field, name: p.name})
		} else {
			t.appendText(inside)
		}
		t.appendText(strings.Repeat("}", pairs/2+p.shut-pairs))
	}
	return t.template()
}

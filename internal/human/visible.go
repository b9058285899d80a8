package human

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Visible escapes characters that change the look of the text around them, for example as \u202e. These are controls of the
// writing direction, and all control characters except line ends and tabs. It replaces bytes that are not UTF-8 by U+FFFD.
// Escaped names cannot imitate other names or move a terminal's cursor. Visible JSON is the same JSON.
func Visible(s string) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, hidden) < 0 {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		if hidden(r) && !(r == '\r' && strings.HasPrefix(s[i:], "\r\n")) {
			fmt.Fprintf(&b, `\u%04x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// VisibleWriter returns a writer that writes the [Visible] form of its input to w. It holds back a character that a Write
// ended within, until the next Write.
func VisibleWriter(w io.Writer) io.Writer { return &visibleWriter{to: w} }

type visibleWriter struct {
	to   io.Writer
	held []byte // the start of a character
}

func (w *visibleWriter) Write(p []byte) (int, error) {
	text := append(w.held, p...)
	end := len(text)
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if c := text[len(text)-n]; utf8.RuneStart(c) {
			if !utf8.FullRune(text[len(text)-n:]) {
				end -= n
			}
			break
		}
	}
	if _, err := io.WriteString(w.to, Visible(string(text[:end]))); err != nil {
		return 0, err
	}
	w.held = append([]byte(nil), text[end:]...)
	return len(p), nil
}

func hidden(r rune) bool {
	return unicode.IsControl(r) && r != '\n' && r != '\t' || directs(r)
}

// directs reports whether r is a control of the Unicode bidirectional algorithm: https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters
func directs(r rune) bool {
	return r == 0x061c || r == 0x200e || r == 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

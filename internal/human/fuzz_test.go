package human

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// A text that is shown has no control of the terminal or of the writing direction.
func FuzzVisible(f *testing.F) {
	f.Add("a\u202eb\x1b[31m\u2066\x00\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		out := strings.ReplaceAll(Visible(s), "\r\n", "\n")
		if strings.ContainsFunc(out, func(r rune) bool {
			return unicode.Is(unicode.Bidi_Control, r) || r != '\n' && r != '\t' && unicode.IsControl(r)
		}) {
			t.Fatalf("%q", out)
		}
		var written strings.Builder
		w := VisibleWriter(&written)
		for i := range len(s) {
			if n, err := w.Write([]byte{s[i]}); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		}
		if utf8.ValidString(s) && !strings.Contains(s, "\r") && written.String() != out {
			t.Fatalf("%q and %q", written.String(), out)
		}
		if line := FirstLine(s, 20); utf8.RuneCountInString(line) > 21 || strings.ContainsAny(line, "\r\n") {
			t.Fatalf("%q", line)
		}
	})
}

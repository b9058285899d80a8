package human

import (
	"fmt"
	"strings"
	"unicode"
)

// Visible escapes characters that change the look of the text around them, for example as \u202e. These are controls of the
// writing direction, and all control characters except line ends and tabs. Escaped names cannot imitate other names or move a
// terminal's cursor.
func Visible(s string) string {
	if strings.IndexFunc(s, hidden) < 0 {
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

func hidden(r rune) bool {
	return unicode.IsControl(r) && r != '\n' && r != '\t' || directs(r)
}

// directs reports whether r is a control of the Unicode bidirectional algorithm: https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters
func directs(r rune) bool {
	return r == 0x061c || r == 0x200e || r == 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

package toolpool

import (
	"fmt"
	"unicode/utf8"
)

// cut shortens valid UTF-8 text to at most limit bytes, the note that says so included. A limit that has no room for
// the note gives the note alone.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	note := func(shown int) string { return fmt.Sprintf("\n[cut: the first %d of %d bytes]", shown, len(text)) }
	shown := max(0, limit-len(note(len(text))))
	for shown > 0 && !utf8.RuneStart(text[shown]) {
		shown--
	}
	return text[:shown] + note(shown)
}

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

// Thirds of a token: what a byte of ASCII and any other character is reckoned as. Dense text, such as code and numbers,
// has about three bytes of ASCII to a token; no tokenizer in use makes much more than one token of other characters.
const (
	thirdsASCII = 1
	thirdsOther = 3
)

// cutTokens shortens valid UTF-8 text to about limit tokens and says in a last line how much is missing. 0 does not
// cut. The line itself is not counted.
func cutTokens(text string, limit int) string {
	if limit <= 0 || len(text) <= limit {
		return text
	}
	thirds, shown := 0, len(text)
	for i, r := range text {
		if r < utf8.RuneSelf {
			thirds += thirdsASCII
		} else {
			thirds += thirdsOther
		}
		if thirds > 3*limit && shown == len(text) {
			shown = i
		}
	}
	if shown == len(text) {
		return text
	}
	total := (thirds + 2) / 3
	return text[:shown] + fmt.Sprintf("\n[cut: about %d of %d tokens are missing, %d of %d bytes; ask for a smaller part]",
		total-limit, total, len(text)-shown, len(text))
}

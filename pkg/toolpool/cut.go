package toolpool

import (
	"fmt"
	"unicode/utf8"
)

// cut shortens valid UTF-8 text to at most limit bytes, including the note about the cut. If the note does not fit,
// cut returns the note alone.
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

// Estimated thirds of a token per ASCII byte and per other character. Dense text, such as code and numbers, has about
// three ASCII bytes per token. Common tokenizers use about one token for any other character.
const (
	thirdsASCII = 1
	thirdsOther = 3
)

// cutTokens shortens valid UTF-8 text to about limit tokens and appends a line with the number of missing tokens. The
// limit excludes that line. A limit of 0 keeps the text.
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

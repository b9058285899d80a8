package openaichat

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

// TestPiecesHaveWholeCharacters cuts a text anywhere, also within a surrogate pair.
func TestPiecesHaveWholeCharacters(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOf(rapid.SampledFrom([]string{"a", "é", "€", "😀", "\xed\xa0\xbd\xed\xb8\x80", "\xed\x9f\xbf"})).Draw(t, "text"), "")
		var got strings.Builder
		p := piecewise{report: func(piece string) {
			assert.True(t, utf8.ValidString(piece), "%q", piece)
			got.WriteString(piece)
		}}
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, min(4, len(rest))).Draw(t, "n")
			p.add(rest[:n])
			rest = rest[n:]
		}
		assert.Equal(t, joined(text), got.String())
		assert.Empty(t, p.held)
	})
}

// TestInvalidPiecesAreTheBeginning checks that the pieces of any bytes are the beginning of the whole text.
func TestInvalidPiecesAreTheBeginning(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := string(rapid.SliceOf(rapid.SampledFrom([]byte{'a', 0xED, 0xA0, 0xBD, 0xB8, 0x80, 0xE2, 0xFF})).Draw(t, "text"))
		var got strings.Builder
		p := piecewise{report: func(piece string) { got.WriteString(piece) }}
		for i := range len(text) {
			p.add(text[i : i+1])
		}
		assert.True(t, strings.HasPrefix(joined(text), got.String()), "%q is no beginning of %q", got.String(), joined(text))
		assert.LessOrEqual(t, len(p.held), 5)
	})
}

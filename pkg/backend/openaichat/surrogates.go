package openaichat

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// A server may cut a text anywhere, also between the two \u escapes of one character or inside its UTF-8. encoding/json
// replaces such a half by U+FFFD. Pieces of a text are therefore kept unchanged: half of a surrogate pair as the three
// bytes of its UTF-8 form, and other invalid bytes as they are. joined combines the halves when the text is complete. A
// single half is invalid UTF-8, and package agent refuses it.

// surrogateBytes is the length of half of a surrogate pair.
const surrogateBytes = 3

// decodeString returns the text of a valid JSON string.
func decodeString(raw []byte) string {
	body := raw[1 : len(raw)-1]
	var b strings.Builder
	b.Grow(len(body))
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' {
			b.WriteByte(body[i])
			continue
		}
		i++
		switch body[i] {
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'u':
			r := hexRune(body[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				b.Write([]byte{0xED, byte(0x80 | r>>6&0x3F), byte(0x80 | r&0x3F)})
			} else {
				b.WriteRune(r)
			}
		default:
			b.WriteByte(body[i])
		}
	}
	return joined(b.String())
}

// hexRune parses four hexadecimal digits.
func hexRune(b []byte) rune {
	r := rune(0)
	for _, c := range b[:4] {
		switch {
		case c >= 'a':
			c -= 'a' - 10
		case c >= 'A':
			c -= 'A' - 10
		default:
			c -= '0'
		}
		r = r<<4 | rune(c)
	}
	return r
}

// joined combines adjacent halves of surrogate pairs.
func joined(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		at := strings.IndexByte(text, 0xED)
		if at < 0 {
			break
		}
		b.WriteString(text[:at])
		text = text[at:]
		pair := utf16.DecodeRune(surrogate(text), surrogate(text[min(surrogateBytes, len(text)):]))
		if pair == utf8.RuneError {
			b.WriteByte(text[0])
			text = text[1:]
			continue
		}
		b.WriteRune(pair)
		text = text[2*surrogateBytes:]
	}
	b.WriteString(text)
	return b.String()
}

// surrogate returns the half of a surrogate pair at the start of text; 0 without one.
func surrogate(text string) rune {
	if len(text) < surrogateBytes || text[0] != 0xED || text[1] < 0xA0 || text[1] > 0xBF || text[2]&0xC0 != 0x80 {
		return 0
	}
	return 0xD000 | rune(text[1]&0x3F)<<6 | rune(text[2]&0x3F)
}

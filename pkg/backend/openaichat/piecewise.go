package openaichat

import "unicode/utf8"

// piecewise reports a text in pieces of whole characters. It holds back the beginning of a character until its rest arrives.
type piecewise struct {
	report func(piece string) // nil reports nothing
	held   string
}

func (p *piecewise) add(piece string) {
	if p.report == nil || piece == "" {
		return
	}
	text := p.held + piece
	end := len(text) - cutCharacter(text)
	p.held = text[end:]
	if end > 0 {
		p.report(joined(text[:end]))
	}
}

// cutCharacter returns the length of the incomplete character at the end of a text: a part of its UTF-8, or of a surrogate pair.
func cutCharacter(text string) int {
	for n := 1; n <= min(utf8.UTFMax-1, len(text)); n++ {
		last := text[len(text)-n:]
		switch {
		case !utf8.RuneStart(last[0]):
			continue
		case last[0] == 0xED && n < surrogateBytes:
			before := text[max(0, len(text)-n-surrogateBytes) : len(text)-n]
			if isFirstHalf(before) {
				n += surrogateBytes
			}
			return n
		case isFirstHalf(last), !utf8.FullRuneInString(last):
			return n
		}
		return 0
	}
	return 0
}

// isFirstHalf reports whether a text is the first half of a surrogate pair.
func isFirstHalf(text string) bool {
	half := surrogate(text)
	return len(text) == surrogateBytes && half >= 0xD800 && half < 0xDC00
}

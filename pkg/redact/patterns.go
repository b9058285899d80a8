package redact

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// shortest is the length from which a text can be a secret. Shorter texts occur in every other sentence.
	shortest = 3
	// shortWord is the length below which a secret may be part of an ordinary word or number.
	shortWord = 8
	// longWord is the length below which a secret of letters alone may be an ordinary word, such as placeholder.
	longWord = 16
	// shortestLine is the length from which each line of a multi-line secret is a secret too.
	shortestLine = 16
)

// Secrets are texts to hide. A nil Secrets holds none.
type Secrets struct {
	texts   []string
	byFirst [256][]*pattern // the patterns that may match at a byte
	second  [256]byteSet    // the bytes that may follow it
	escaped byteSet         // the first bytes of patterns that an escape may replace
}

// byteSet is a set of bytes, one bit for each.
type byteSet [4]uint64

func (s *byteSet) add(b byte)      { s[b/64] |= 1 << (b % 64) }
func (s *byteSet) has(b byte) bool { return s[b/64]&(1<<(b%64)) != 0 }

// pattern is a form of a secret.
type pattern struct {
	units []unit
	word  bool // matches only without a letter or digit beside it
}

// New returns the secrets among texts. Texts of fewer than 3 bytes are ignored.
func New(texts ...string) *Secrets {
	s := &Secrets{}
	for _, t := range texts {
		if t = strings.TrimSpace(t); len(t) < shortest || slices.Contains(s.texts, t) {
			continue
		}
		s.texts = append(s.texts, t)
		if IsWord(t) {
			s.add(&pattern{plain(t, false), true})
			continue
		}
		s.addForms(t)
		if strings.ContainsAny(t, "\r\n") {
			for line := range strings.Lines(t) {
				if line = strings.TrimSpace(line); len(line) >= shortestLine && !strings.HasPrefix(line, "-----") {
					s.addForms(line)
				}
			}
		}
	}
	return s
}

// Texts returns the secrets themselves. A program hands them to its child process, which strikes them out in turn.
func (s *Secrets) Texts() []string {
	if s == nil {
		return nil
	}
	return slices.Clone(s.texts)
}

// IsWord reports whether a secret may be a word of ordinary text, such as EMPTY. Such a secret protects nothing.
func IsWord(secret string) bool {
	if len(secret) < shortWord {
		return true
	}
	return len(secret) < longWord && strings.IndexFunc(secret, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
	}) < 0
}

func (s *Secrets) addForms(secret string) {
	s.add(&pattern{plain(secret, true), false})
	s.add(&pattern{hexadecimal(secret), false})
	for offset := range 3 {
		s.add(&pattern{inBase64(secret, offset), false})
	}
}

func (s *Secrets) add(p *pattern) {
	for _, c := range p.units[0].chars {
		if c.escaped {
			s.escaped.add(c.text[0])
		}
	}
	for _, pair := range p.starts() {
		s.second[pair[0]].add(pair[1])
		if of := s.byFirst[pair[0]]; len(of) == 0 || of[len(of)-1] != p {
			s.byFirst[pair[0]] = append(of, p)
		}
	}
}

// starts returns pairs of bytes. Each match of p starts with one of them.
func (p *pattern) starts() [][2]byte {
	var pairs [][2]byte
	for _, c := range p.units[0].chars {
		followers := []byte{c.text[min(1, len(c.text)-1)]}
		if len(c.text) == 1 {
			followers = p.units[1].starts()
		}
		for _, b := range followers {
			pairs = append(pairs, [2]byte{c.text[0], b})
		}
		pairs = append(pairs, c.escapeStarts()...)
	}
	return pairs
}

// plain returns the units of a secret as it is, one for each character. With escaped set, each may be escaped.
func plain(secret string, escaped bool) []unit {
	var units []unit
	for len(secret) > 0 {
		_, n := utf8.DecodeRuneInString(secret)
		u := unit{chars: []char{newChar(secret[:n], escaped)}}
		if escaped && secret[0] == ' ' {
			u.chars = append(u.chars, newChar("+", true)) // in a query
		}
		units = append(units, u)
		secret = secret[n:]
	}
	return units
}

// hexadecimal returns the units of a secret's digits, in either case.
func hexadecimal(secret string) []unit {
	lower := hex.EncodeToString([]byte(secret))
	upper := strings.ToUpper(lower)
	var units []unit
	for i := range len(lower) {
		u := unit{chars: []char{{text: lower[i : i+1]}}}
		if upper[i] != lower[i] {
			u.chars = append(u.chars, char{text: upper[i : i+1]})
		}
		units = append(units, u)
	}
	return units
}

// inBase64 returns the units of the characters that depend only on the secret, if offset bytes, modulo 3, precede the
// secret. It omits the characters at the edges, which hold bits of the neighbours. Both alphabets match, and lines may end
// between characters.
func inBase64(secret string, offset int) []unit {
	text := base64.RawStdEncoding.EncodeToString(append(make([]byte, offset), secret...))
	first := (offset*8 + 5) / 6
	last := (offset + len(secret)) * 8 / 6
	var units []unit
	for i, c := range text[first:last] {
		u := unit{wraps: i > 0}
		switch c {
		case '+':
			u.chars = []char{newChar("+", true), {text: "-"}}
		case '/':
			u.chars = []char{newChar("/", true), {text: "_"}}
		default:
			u.chars = []char{{text: string(c)}}
		}
		units = append(units, u)
	}
	return units
}

package redact

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strings"
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
	patterns []pattern // the longest first
	longest  int       // of the patterns, in bytes
	raw      []string  // the secrets that cannot be ordinary words, in their plain form
	words    []string  // the other secrets
}

type pattern struct {
	text string
	word bool // matches only without a letter or digit beside it
}

// New returns the secrets among texts. Texts of fewer than 3 bytes are ignored.
func New(texts ...string) *Secrets {
	s := &Secrets{}
	for _, t := range texts {
		if t = strings.TrimSpace(t); len(t) < shortest {
			continue
		}
		if IsWord(t) {
			s.patterns = append(s.patterns, pattern{t, true})
			s.words = append(s.words, t)
			continue
		}
		s.raw = append(s.raw, t)
		for _, form := range forms(t) {
			s.patterns = append(s.patterns, pattern{form, false})
		}
	}
	slices.SortFunc(s.patterns, func(a, b pattern) int {
		return cmp.Or(len(b.text)-len(a.text), strings.Compare(a.text, b.text))
	})
	s.patterns = slices.CompactFunc(s.patterns, func(a, b pattern) bool { return a.text == b.text })
	if len(s.patterns) > 0 {
		s.longest = len(s.patterns[0].text)
	}
	return s
}

// Texts returns the secrets themselves. A program hands them to its child process, which strikes them out in turn.
func (s *Secrets) Texts() []string {
	if s == nil {
		return nil
	}
	return slices.Concat(s.raw, s.words)
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

// forms returns the forms of a secret to search for.
func forms(secret string) []string {
	out := encoded(secret)
	if strings.ContainsAny(secret, "\r\n") {
		for line := range strings.Lines(secret) {
			if line = strings.TrimSpace(line); len(line) >= shortestLine && !strings.HasPrefix(line, "-----") {
				out = append(out, encoded(line)...)
			}
		}
	}
	return out
}

var percent = regexp.MustCompile(`%[0-9A-F]{2}`)

func encoded(secret string) []string {
	hexed := hex.EncodeToString([]byte(secret))
	out := []string{secret, html.EscapeString(secret), inJSON(secret, true), inJSON(secret, false), hexed, strings.ToUpper(hexed)}
	for _, e := range []string{url.QueryEscape(secret), url.PathEscape(secret)} {
		out = append(out, e, percent.ReplaceAllStringFunc(e, strings.ToLower))
	}
	for offset := range 3 {
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			out = append(out, inBase64(secret, offset, e))
		}
	}
	return out
}

// inJSON returns the form of a secret within a JSON string.
func inJSON(secret string, escapeHTML bool) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(escapeHTML)
	_ = enc.Encode(secret) //nolint:errchkjson // a string always encodes
	return strings.Trim(strings.TrimSpace(b.String()), `"`)
}

// inBase64 returns the characters of an encoded text that depend only on the secret, if offset bytes, modulo 3, precede the
// secret. It omits the characters at the edges, which hold bits of the neighbours.
func inBase64(secret string, offset int, e *base64.Encoding) string {
	text := e.EncodeToString(append(make([]byte, offset), secret...))
	first := (offset*8 + 5) / 6
	last := (offset + len(secret)) * 8 / 6
	return text[first:last]
}

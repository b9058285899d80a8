package redact

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
)

// keys have the characters that encodings change.
var keys = []string{
	key,
	"AbCdEf0123456789AbCdEf0123456789AbCdEf01",
	"p\"ss\\w'rd<1>&%41+ ~/\\\\/\\u0041",
	"gr\u00fc\u00df-\u20ac-\U0001F511-k\u00e9y",
	`\\\\server\share\`,
	"%25%2525&amp;amp;#38;",
	"line one of the key\nand line two",
}

// encoders write a secret in the notations of servers, programs and browsers.
var encoders = map[string]func(string) string{
	"plain":              func(s string) string { return s },
	"query":              url.QueryEscape,
	"path":               url.PathEscape,
	"path in lower case": func(s string) string { return lowerPercent(url.PathEscape(s)) },
	"all percent":        func(s string) string { return eachByte(s, "%%%02X") },
	"only reserved": func(s string) string {
		return strings.NewReplacer("%", "%25", "/", "%2f", "+", "%2B", "&", "%26", "=", "=").Replace(s)
	},
	"query in query":      func(s string) string { return url.QueryEscape(url.QueryEscape(s)) },
	"path in path":        func(s string) string { return url.PathEscape(url.PathEscape(s)) },
	"JSON":                func(s string) string { return inJSON(s, true) },
	"JSON without HTML":   func(s string) string { return inJSON(s, false) },
	"JSON of PHP":         func(s string) string { return strings.ReplaceAll(inJSON(s, false), "/", `\/`) },
	"JSON in JSON":        func(s string) string { return inJSON(inJSON(s, true), true) },
	"JSON in JSON twice":  func(s string) string { return inJSON(inJSON(inJSON(s, true), true), true) },
	"code points":         func(s string) string { return eachUnit(s, `\u%04x`) },
	"upper code points":   func(s string) string { return eachUnit(s, `\u%04X`) },
	"code points in JSON": func(s string) string { return eachUnit(s, `\\u%04x`) },
	"bytes of a program":  func(s string) string { return eachByte(s, `\x%02x`) },
	"Go":                  func(s string) string { return unquoted(strconv.Quote(s)) },
	"Go in ASCII":         func(s string) string { return unquoted(strconv.QuoteToASCII(s)) },
	"HTML":                html.EscapeString,
	"HTML in HTML":        func(s string) string { return html.EscapeString(html.EscapeString(s)) },
	"decimal entities":    func(s string) string { return eachRune(s, "&#%d;") },
	"hex entities":        func(s string) string { return eachRune(s, "&#x%X;") },
	"padded entities":     func(s string) string { return eachRune(s, "&#x%06x;") },
	"named entities": func(s string) string {
		return strings.NewReplacer("&", "&amp;", "/", "&sol;", "+", "&plus;", "=", "&equals;", "-", "&#45;", "\u20ac", "&euro;", "\u00e9", "&eacute;").Replace(s)
	},
	"hex":             func(s string) string { return hex.EncodeToString([]byte(s)) },
	"upper hex":       func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
	"first half only": func(s string) string { return eachRune(s[:1], "&#%d;") + s[1:] },
}

// TestFormsAtEveryOffset sends each form through streams that break it at every position.
func TestFormsAtEveryOffset(t *testing.T) {
	t.Parallel()
	for _, secret := range keys {
		s := New(secret, "another-secret-0123456789")
		for name, encode := range encoders {
			form := encode(secret)
			for before := range 3 {
				text := strings.Repeat("u:", before) + form + " end"
				want := strings.Repeat("u:", before) + Mark + " end"
				require.Equal(t, want, s.Text(text), "%s of %q", name, secret)
				for at := 1; at < len(text); at++ {
					require.Equal(t, want, streamed(t, s, text[:at], text[at:]), "%s of %q at %d", name, secret, at)
				}
				require.Equal(t, want, streamed(t, s, strings.Split(text, "")...), name)
			}
			checkCuts(t, s, name, form)
		}
	}
}

// TestBase64AtEveryOffset finds a secret at each offset in an encoded text, except for bits that it shares with its neighbours.
func TestBase64AtEveryOffset(t *testing.T) {
	t.Parallel()
	wrap := regexp.MustCompile(`.{1,16}`)
	notations := map[string]func(string) string{
		"plain":         func(s string) string { return s },
		"lines":         func(s string) string { return wrap.ReplaceAllString(s, "$0\n") },
		"lines of MIME": func(s string) string { return wrap.ReplaceAllString(s, "$0\r\n") },
		"lines in JSON": func(s string) string { return inJSON(wrap.ReplaceAllString(s, "$0\r\n"), true) },
		"query":         url.QueryEscape,
		"JSON of PHP":   func(s string) string { return strings.ReplaceAll(s, "/", `\/`) },
		"JSON":          func(s string) string { return strings.ReplaceAll(s, "+", `\u002b`) },
		"lower query":   func(s string) string { return lowerPercent(url.QueryEscape(s)) },
	}
	for _, secret := range keys {
		s := New(secret)
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
			for name, notation := range notations {
				for before := range 7 {
					for after := range 4 {
						text := notation(e.EncodeToString([]byte(strings.Repeat("u", before) + secret + strings.Repeat(":", after))))
						got := s.Text(text)
						require.Contains(t, got, Mark, "%s %d %d", name, before, after)
						require.LessOrEqual(t, len(got), len(Mark)+len(notation(strings.Repeat("u", (before+after)*4/3+6)))+12, "%s: %s of %s", name, got, text)
						for at := 1; at < len(text) && after == 0; at += 3 {
							require.Equal(t, got, streamed(t, s, text[:at], text[at:]), "%s at %d", name, at)
						}
					}
				}
			}
		}
	}
}

// checkCuts checks that a source that cuts a form shows less than half of it, and that no cut afterwards shows more.
func checkCuts(t *testing.T, s *Secrets, name, form string) {
	t.Helper()
	for length := range len(form) {
		got := s.Text("x " + form[:length])
		if strings.Contains(got, Mark) {
			continue
		}
		require.Less(t, length, len(form)*2/3+12, "%s of %q cut at %d: %q", name, form, length, got)
		require.Equal(t, "x "+form[:length], got)
	}
}

func streamed(t *testing.T, s *Secrets, chunks ...string) string {
	t.Helper()
	var out strings.Builder
	w := s.Writer(&out)
	for _, c := range chunks {
		_, err := io.WriteString(w, c)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.String()
}

func lowerPercent(s string) string {
	return regexp.MustCompile(`%[0-9A-F]{2}`).ReplaceAllStringFunc(s, strings.ToLower)
}

func inJSON(s string, escapeHTML bool) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(escapeHTML)
	_ = enc.Encode(s) //nolint:errchkjson // a string always encodes
	return unquoted(strings.TrimSpace(b.String()))
}

func unquoted(s string) string { return s[1 : len(s)-1] }

func eachByte(s, format string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, format, s[i])
	}
	return b.String()
}

func eachRune(s, format string) string {
	var b strings.Builder
	for _, r := range s {
		fmt.Fprintf(&b, format, r)
	}
	return b.String()
}

func eachUnit(s, format string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		fmt.Fprintf(&b, format, u)
	}
	return b.String()
}

package endpoint

import (
	"strings"
)

const (
	// MaxMessageBytes limits a server's message in [OneLine].
	MaxMessageBytes = 500
	// MaxPartialBytes limits the text of a turn in [Partial].
	MaxPartialBytes = 4 << 10
)

// OneLine converts a server's message to one line of limited length. It splits no character.
func OneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > MaxMessageBytes {
		s = strings.ToValidUTF8(s[:MaxMessageBytes], "") + "…"
	}
	return s
}

// Partial returns the start of the text of a cut turn, without trailing whitespace. It splits no character.
func Partial(s string) string {
	if len(s) > MaxPartialBytes {
		s = strings.ToValidUTF8(s[:MaxPartialBytes], "")
	}
	return strings.TrimRight(s, " \t\r\n")
}

// Mentions reports whether a message contains any of the phrases. Both must be in lower case.
func Mentions(message string, phrases ...string) bool {
	for _, p := range phrases {
		if strings.Contains(message, p) {
			return true
		}
	}
	return false
}

// Key returns the first API key that is set in the variables, without surrounding space. "" if none is set.
func Key(getenv func(string) string, names ...string) string {
	for _, name := range names {
		if key := strings.TrimSpace(getenv(name)); key != "" {
			return key
		}
	}
	return ""
}

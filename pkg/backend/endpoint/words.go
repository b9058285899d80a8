package endpoint

import (
	"strings"
)

const (
	// MaxMessageBytes bounds what [OneLine] keeps of a server's message.
	MaxMessageBytes = 500
	// MaxPartialBytes bounds what [Partial] keeps of a turn.
	MaxPartialBytes = 4 << 10
)

// OneLine makes a server's message one bounded line. No character is split.
func OneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > MaxMessageBytes {
		s = strings.ToValidUTF8(s[:MaxMessageBytes], "") + "…"
	}
	return s
}

// Partial is the start of the text of a turn that was cut, without the whitespace at its end. No character is split.
func Partial(s string) string {
	if len(s) > MaxPartialBytes {
		s = strings.ToValidUTF8(s[:MaxPartialBytes], "")
	}
	return strings.TrimRight(s, " \t\r\n")
}

// Mentions reports whether any of the phrases stands in a message. Both are in lower case.
func Mentions(message string, phrases ...string) bool {
	for _, p := range phrases {
		if strings.Contains(message, p) {
			return true
		}
	}
	return false
}

// Key reads an API key: the first of the variables that is set, without the space around it. "" if none is.
func Key(getenv func(string) string, names ...string) string {
	for _, name := range names {
		if key := strings.TrimSpace(getenv(name)); key != "" {
			return key
		}
	}
	return ""
}

package endpoint

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// MaxMessageBytes bounds what [OneLine] keeps of a server's message.
	MaxMessageBytes = 500
	// MaxPartialBytes bounds what [Partial] keeps of a turn.
	MaxPartialBytes = 4 << 10

	maxRetryAfter = 24 * time.Hour
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

// RetryAfter reads how long a server asks to wait: milliseconds, seconds or a date (RFC 9110, 10.2.3). 0 if it does not
// ask. A date is measured by the server's own clock if it tells that.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	var wait time.Duration
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil {
		wait = bounded(ms, time.Millisecond)
	} else if s, err := strconv.ParseFloat(h.Get("Retry-After"), 64); err == nil {
		wait = bounded(s, time.Second)
	} else if at, err := http.ParseTime(h.Get("Retry-After")); err == nil {
		wait = at.Sub(Sent(h, now))
	}
	return min(max(wait, 0), maxRetryAfter)
}

// Sent is when a response was sent, by the clock of its server: what dates in it are to be measured by, because the clock of this
// machine may be minutes off. now if the response does not tell.
func Sent(h http.Header, now time.Time) time.Time {
	if sent, err := http.ParseTime(h.Get("Date")); err == nil {
		return sent
	}
	return now
}

// bounded converts without overflow. NaN gives 0.
func bounded(n float64, unit time.Duration) time.Duration {
	if !(n > 0) {
		return 0
	}
	return time.Duration(min(n, float64(maxRetryAfter/unit)) * float64(unit))
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

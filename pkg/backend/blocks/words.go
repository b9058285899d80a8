package blocks

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	maxMessageBytes = 500
	maxRetryAfter   = 24 * time.Hour
)

// OneLine makes a server's message one bounded line.
func OneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if short := cut(s, maxMessageBytes); len(short) < len(s) {
		return short + "…"
	}
	return s
}

// RetryAfter reads how long a server asks to wait: milliseconds, seconds or a date. 0 if it does not ask.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	var wait time.Duration
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil {
		wait = bounded(ms, time.Millisecond)
	} else if s, err := strconv.ParseFloat(h.Get("Retry-After"), 64); err == nil {
		wait = bounded(s, time.Second)
	} else if at, err := http.ParseTime(h.Get("Retry-After")); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}

// bounded converts without overflow. NaN gives 0.
func bounded(n float64, unit time.Duration) time.Duration {
	if !(n > 0) {
		return 0
	}
	return time.Duration(min(n, float64(maxRetryAfter/unit)) * float64(unit))
}

// Package retryafter reads how long a server asks to be left alone. Model servers and the services behind tools say it in
// the same headers. It keeps no state and is safe for concurrent use.
package retryafter

import (
	"net/http"
	"strconv"
	"time"
)

// Most bounds what a server can ask for.
const Most = 24 * time.Hour

// Read is the wait that the headers of an answer ask for: milliseconds, seconds or a date (RFC 9110, 10.2.3). 0 if they do
// not ask. A date is measured by the server's own clock if it tells that, and by now if not.
func Read(h http.Header, now time.Time) time.Duration {
	var wait time.Duration
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil {
		wait = bounded(ms, time.Millisecond)
	} else if s, err := strconv.ParseFloat(h.Get("Retry-After"), 64); err == nil {
		wait = bounded(s, time.Second)
	} else if at, err := http.ParseTime(h.Get("Retry-After")); err == nil {
		wait = at.Sub(Sent(h, now))
	}
	return min(max(wait, 0), Most)
}

// Sent is when an answer was sent, by the clock of its server: what dates in it are to be measured by, because the clock of this
// machine may be minutes off. now if the answer does not tell.
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
	return time.Duration(min(n, float64(Most/unit)) * float64(unit))
}

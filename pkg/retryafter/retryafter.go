// Package retryafter reads how long a server wants its clients to wait.
//
// [Read] reads the Retry-After headers, which any service may send. [Reset] reads the headers of rate limits, and [Body] the
// members and the text of an error body: use both only for responses that refuse a call because of its rate. The package keeps
// no state and is safe for concurrent use.
package retryafter

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Most is the limit of every wait.
const Most = 24 * time.Hour

// Read returns the wait in the Retry-After headers of a response: milliseconds, seconds, a duration or a date (RFC 9110,
// 10.2.3). It returns 0 if there is none. A date is measured against the server's own Date header, or against now without one.
func Read(h http.Header, now time.Time) time.Duration {
	for _, name := range []string{"Retry-After-Ms", "X-Ms-Retry-After-Ms"} {
		if ms, err := strconv.ParseFloat(strings.TrimSpace(h.Get(name)), 64); err == nil && ms > 0 {
			return bounded(ms, time.Millisecond)
		}
	}
	for _, name := range []string{"Retry-After", "X-Retry-After"} {
		value := strings.TrimSpace(h.Get(name))
		if s, err := strconv.ParseFloat(value, 64); err == nil {
			if s > 0 {
				return bounded(s, time.Second)
			}
			continue
		}
		if d, ok := instant(value, Sent(h, now)); ok && d > 0 {
			return d
		}
	}
	return 0
}

// Reset returns the time until the exhausted rate limits of a response are restored, from X-RateLimit-Reset, RateLimit-Reset
// and their variants per kind of limit. It returns 0 if the headers contain none.
//
// Limits with something left are ignored. If no header has a remainder, the shortest reset counts, because any of the limits
// may be the exhausted one.
func Reset(h http.Header, now time.Time) time.Duration {
	var exhausted, unknown time.Duration
	for name := range h {
		kind, ok := limitKind(name)
		if !ok {
			continue
		}
		wait := resetIn(h.Get(name), Sent(h, now))
		if wait == 0 {
			continue
		}
		left, err := strconv.ParseFloat(strings.TrimSpace(remaining(h, kind)), 64)
		switch {
		case err == nil && left > 0:
		case err == nil:
			exhausted = max(exhausted, wait)
		case unknown == 0:
			unknown = wait
		default:
			unknown = min(unknown, wait)
		}
	}
	if exhausted = max(exhausted, structured(h)); exhausted > 0 {
		return exhausted
	}
	return unknown
}

// structured returns the reset of the exhausted policies in RateLimit headers, such as "default";r=0;t=9.
func structured(h http.Header) (wait time.Duration) {
	for _, policy := range strings.Split(strings.Join(h.Values("Ratelimit"), ","), ",") {
		left, reset := "", ""
		for _, part := range strings.Split(policy, ";") {
			switch name, value, _ := strings.Cut(strings.TrimSpace(part), "="); name {
			case "r":
				left = value
			case "t":
				reset = value
			}
		}
		if seconds, err := strconv.ParseFloat(reset, 64); err == nil && left == "0" && seconds > 0 {
			wait = max(wait, bounded(seconds, time.Second))
		}
	}
	return wait
}

// resetNames are the headers that hold a reset. The kind of limit may follow the name.
var resetNames = []string{"X-Ratelimit-Reset", "Ratelimit-Reset", "X-Rate-Limit-Reset"}

// limitKind returns the kind of limit that a header resets, such as "-Requests", or "" for a header without a kind.
func limitKind(name string) (kind string, ok bool) {
	for _, prefix := range resetNames {
		if rest, found := strings.CutPrefix(http.CanonicalHeaderKey(name), prefix); found {
			return strings.TrimPrefix(rest, "-After"), true
		}
	}
	if of, found := strings.CutSuffix(http.CanonicalHeaderKey(name), "-Reset"); found && strings.Contains(of, "Ratelimit-") {
		return of, true // such as Anthropic-Ratelimit-Requests
	}
	return "", false
}

func remaining(h http.Header, kind string) string {
	for _, prefix := range resetNames {
		if v := h.Get(strings.TrimSuffix(prefix, "Reset") + "Remaining" + kind); v != "" {
			return v
		}
	}
	if kind == "" {
		return ""
	}
	return h.Get(kind + "-Remaining")
}

const (
	// epoch is the least number that is a time since 1970 and not a wait. As a time it is in 2001; as a wait it would be 31
	// years.
	epoch = 1e9
	// epochMillis is the same in milliseconds.
	epochMillis = 1e11
	// longestSeconds is the longest wait in seconds. A greater number counts milliseconds.
	longestSeconds = 86_400
)

// resetIn reads the value of a reset: seconds, milliseconds, a duration, a date, or a time since 1970 in seconds or
// milliseconds. It returns 0 for a past or unreadable one.
func resetIn(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	n, err := strconv.ParseFloat(value, 64)
	switch {
	case err != nil:
		d, _ := instant(value, now)
		return d
	case !(n > 0):
		return 0
	case n >= epochMillis:
		return between(time.UnixMilli(int64(min(n, 1e15))), now)
	case n >= epoch:
		return between(time.Unix(0, 0).Add(time.Duration(min(n, 9e9)*float64(time.Second))), now)
	case n > longestSeconds:
		return bounded(n, time.Millisecond)
	default:
		return bounded(n, time.Second)
	}
}

// instant reads a duration or a date.
func instant(value string, now time.Time) (time.Duration, bool) {
	if d, err := time.ParseDuration(value); err == nil {
		return min(max(d, 0), Most), true
	}
	if at, err := http.ParseTime(value); err == nil {
		return between(at, now), true
	}
	if at, err := time.Parse(time.RFC3339, value); err == nil {
		return between(at, now), true
	}
	return 0, false
}

func between(at, now time.Time) time.Duration { return min(max(at.Sub(now), 0), Most) }

// Sent returns when a response was sent, by the clock of its server. Compare dates in the response with it, because the clock
// of this machine may be minutes off. It returns now if the response has no date.
func Sent(h http.Header, now time.Time) time.Time {
	if sent, err := http.ParseTime(h.Get("Date")); err == nil {
		return sent
	}
	return now
}

// bounded converts n units to a wait of at most Most, without overflow. NaN gives 0.
func bounded(n float64, unit time.Duration) time.Duration {
	if !(n > 0) {
		return 0
	}
	return time.Duration(min(n, float64(Most/unit)) * float64(unit))
}

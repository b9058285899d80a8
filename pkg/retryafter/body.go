package retryafter

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	maxBody  = 64 << 10 // bytes of an error body that are read
	maxDepth = 12       // nesting of members
)

// Body returns the wait in an error body: in a member such as retryDelay or retry_after, in the rate-limit headers of another
// server that the body quotes, or in a text such as "try again in 1m2.3s". It returns 0 if the body has none.
func Body(body []byte, now time.Time) time.Duration {
	if len(body) > maxBody {
		body = body[:maxBody]
	}
	var value any
	if json.Unmarshal(body, &value) != nil {
		return Text(string(body), now)
	}
	f := finder{now: now}
	f.walk("", value, 0)
	if f.member > 0 {
		return f.member
	}
	return f.text
}

// finder searches a body. Members win over texts, and the longest wait of each kind counts.
type finder struct {
	now          time.Time
	member, text time.Duration
}

func (f *finder) walk(name string, value any, depth int) {
	if depth > maxDepth {
		return
	}
	switch v := value.(type) {
	case map[string]any:
		if strings.EqualFold(name, "headers") {
			f.headers(v)
		}
		for key, inner := range v {
			f.walk(key, inner, depth+1)
		}
	case []any:
		for _, inner := range v {
			f.walk(name, inner, depth+1)
		}
	case string:
		if d := f.named(name, v); d > 0 {
			f.member = max(f.member, d)
		} else {
			f.text = max(f.text, Text(v, f.now))
		}
	case float64:
		f.member = max(f.member, f.named(name, strconv.FormatFloat(v, 'f', -1, 64)))
	}
}

func (f *finder) headers(members map[string]any) {
	h := http.Header{}
	for key, value := range members {
		switch v := value.(type) {
		case string:
			h.Set(key, v)
		case float64:
			h.Set(key, strconv.FormatFloat(v, 'f', -1, 64))
		}
	}
	f.member = max(f.member, Read(h, f.now), Reset(h, f.now))
}

// named reads a member with the name of a wait, in any case and with any separators.
func (f *finder) named(name, value string) time.Duration {
	name = strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(name))
	switch name {
	case "retryafterms", "retryaftermilliseconds", "retryinms":
		ms, _ := strconv.ParseFloat(value, 64)
		return bounded(ms, time.Millisecond)
	case "retrydelay", "retryafter", "retryafterseconds", "retryafters", "retryin", "retryinseconds":
		return resetIn(value, f.now)
	default:
		return 0
	}
}

const unit = `(?:milliseconds?|ms|days?|d|hours?|hrs?|h|minutes?|mins?|m|seconds?|secs?|s)`

var (
	// asked matches a text with a wait. Its groups are a duration and a date.
	asked = regexp.MustCompile(`(?i)\b(?:retry|retrying|again|wait|reset|resets)\b[^0-9]{0,40}?` +
		`(?:((?:\d{1,9}(?:\.\d{1,9})?\s{0,2}` + unit + `\b[\s,]{0,3}(?:and\s)?|\d{1,9}(?:\.\d{1,9})?(?:h|m|s|ms)){1,6})|(\d{4}-\d\d-\d\dT[0-9:.]{5,20}(?:Z|[+-]\d\d:\d\d)))`)
	part = regexp.MustCompile(`(?i)(\d{1,9}(?:\.\d{1,9})?)\s{0,2}(milliseconds?|ms|d|days?|h|m|s|[a-z]{3,7})`)
)

// Text returns the wait in a sentence, such as "Please retry in 9.5s" or "try again in 1m2.3s". It returns 0 if the sentence
// has none.
func Text(s string, now time.Time) time.Duration {
	m := asked.FindStringSubmatch(s)
	if m == nil {
		return 0
	}
	if m[2] != "" {
		d, _ := instant(m[2], now)
		return d
	}
	var total time.Duration
	for _, p := range part.FindAllStringSubmatch(m[1], -1) {
		n, _ := strconv.ParseFloat(p[1], 64)
		total = min(total+bounded(n, unitOf(strings.ToLower(p[2]))), Most)
	}
	return total
}

func unitOf(name string) time.Duration {
	switch {
	case name == "ms", strings.HasPrefix(name, "milli"):
		return time.Millisecond
	case strings.HasPrefix(name, "d"):
		return 24 * time.Hour
	case strings.HasPrefix(name, "h"):
		return time.Hour
	case strings.HasPrefix(name, "m"):
		return time.Minute
	default:
		return time.Second
	}
}

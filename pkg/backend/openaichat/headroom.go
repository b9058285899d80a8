package openaichat

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
)

// maxReset limits the accepted reset of a limit: the longest windows are a day.
const maxReset = 24 * time.Hour

// headroom returns the tightest rate limit in a response's x-ratelimit-* headers; nil without any. The reset is a
// duration ("6m0s", "12ms"); some servers send plain seconds.
func headroom(h http.Header) *backend.Headroom {
	var out *backend.Headroom
	for _, what := range []string{"Requests", "Tokens"} {
		limit, err1 := strconv.ParseFloat(h.Get("X-Ratelimit-Limit-"+what), 64)
		left, err2 := strconv.ParseFloat(h.Get("X-Ratelimit-Remaining-"+what), 64)
		if err1 != nil || err2 != nil || !(limit > 0) || math.IsInf(limit, 0) || math.IsNaN(left) {
			continue
		}
		room := backend.Headroom{Left: min(max(left/limit, 0), 1), Reset: resetIn(h.Get("X-Ratelimit-Reset-" + what))}
		if out == nil || room.Left < out.Left || room.Left == out.Left && room.Reset > out.Reset {
			out = &room
		}
	}
	return out
}

// resetIn parses a duration; 0 if it is invalid.
func resetIn(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if seconds, plain := strconv.ParseFloat(s, 64); plain == nil && seconds > 0 {
		d, err = time.Duration(min(seconds, maxReset.Seconds())*float64(time.Second)), nil
	}
	if err != nil {
		return 0
	}
	return min(max(d, 0), maxReset)
}

package retryafter

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Headers of any form ask for a wait from 0 to [Most].
func FuzzHeaders(f *testing.F) {
	for _, v := range []string{"7", "-1", "1e309", "Mon, 30 Nov 2026 06:00:00 GMT", "1m3.5s", "2026-11-30T06:00:00Z", "9223372036854775807"} {
		f.Add("Retry-After", v, v)
		f.Add("Retry-After-Ms", v, "0")
		f.Add("X-Ratelimit-Reset-Requests", v, "0")
		f.Add("Anthropic-Ratelimit-Tokens-Reset", v, "")
	}
	now := time.Date(2026, 11, 30, 6, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, name, value, remaining string) {
		h := http.Header{http.CanonicalHeaderKey(name): {value}, "X-Ratelimit-Remaining-Requests": {remaining}, "Date": {value}}
		for _, d := range []time.Duration{Read(h, now), Reset(h, now), Text(value, now), Body([]byte(value), Sent(h, now))} {
			require.GreaterOrEqual(t, d, time.Duration(0))
			require.LessOrEqual(t, d, Most)
		}
	})
}

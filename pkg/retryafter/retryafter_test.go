package retryafter

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestRead(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	cases := []struct {
		header map[string]string
		want   time.Duration
	}{
		{nil, 0},
		{map[string]string{"Retry-After": "7"}, 7 * time.Second},
		{map[string]string{"Retry-After": "0.5"}, 500 * time.Millisecond},
		{map[string]string{"Retry-After": "7", "Retry-After-Ms": "20"}, 20 * time.Millisecond},
		{map[string]string{"Retry-After": "Mon, 23 Nov 2026 12:00:30 GMT"}, 30 * time.Second},
		{map[string]string{"Retry-After": "Mon, 23 Nov 2026 12:00:30 GMT", "Date": "Mon, 23 Nov 2026 12:00:20 GMT"}, 10 * time.Second},
		{map[string]string{"Retry-After": "Mon, 23 Nov 2026 11:00:00 GMT"}, 0},
		{map[string]string{"Retry-After": "-3"}, 0},
		{map[string]string{"Retry-After": "NaN"}, 0},
		{map[string]string{"Retry-After": "1e300"}, Most},
		{map[string]string{"Retry-After": "soon"}, 0},
		{map[string]string{"Retry-After": "1m30s"}, 90 * time.Second},
		{map[string]string{"Retry-After": "-1", "X-Retry-After": "4"}, 4 * time.Second},
		{map[string]string{"Retry-After": "2026-11-23T12:00:05Z"}, 5 * time.Second},
		{map[string]string{"X-Ms-Retry-After-Ms": "250"}, 250 * time.Millisecond},
	}
	for _, c := range cases {
		h := http.Header{}
		for k, v := range c.header {
			h.Set(k, v)
		}
		assert.Equal(t, c.want, Read(h, now), "%v", c.header)
	}
}

func TestReset(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	cases := []struct {
		header map[string]string
		want   time.Duration
	}{
		{nil, 0},
		{map[string]string{"X-RateLimit-Reset": "9"}, 9 * time.Second},
		{map[string]string{"anthropic-ratelimit-requests-reset": "2026-11-23T12:00:09Z", "anthropic-ratelimit-requests-remaining": "0"}, 9 * time.Second},
		{map[string]string{"anthropic-ratelimit-tokens-reset": "2026-11-23T12:00:09Z", "anthropic-ratelimit-tokens-remaining": "5"}, 0},
		{map[string]string{"RateLimit": `"burst";r=5;t=60, "default";r=0;t=9`}, 9 * time.Second},
		{map[string]string{"RateLimit": `"default";r=3;t=9`}, 0},
		{map[string]string{"X-RateLimit-Reset": "9.5"}, 9500 * time.Millisecond},
		{map[string]string{"X-RateLimit-Reset": "90000"}, 90 * time.Second},
		{map[string]string{"X-RateLimit-Reset": fmt.Sprint(now.Add(9 * time.Second).Unix())}, 9 * time.Second},
		{map[string]string{"X-RateLimit-Reset": fmt.Sprint(now.Add(9 * time.Second).UnixMilli())}, 9 * time.Second},
		{map[string]string{"X-RateLimit-Reset": "Mon, 23 Nov 2026 12:00:09 GMT"}, 9 * time.Second},
		{map[string]string{"X-RateLimit-Reset": "2026-11-23T12:00:09Z"}, 9 * time.Second},
		{map[string]string{"X-RateLimit-Reset": "2026-11-23T11:59:09Z"}, 0},
		{map[string]string{"X-RateLimit-Reset": "1e300"}, Most},
		{map[string]string{"X-RateLimit-Reset": "-9"}, 0},
		{map[string]string{"X-RateLimit-Reset": "NaN"}, 0},
		{map[string]string{"X-RateLimit-Reset": "soon"}, 0},
		{map[string]string{"X-RateLimit-Reset": "9", "X-RateLimit-Remaining": "0"}, 9 * time.Second},
		{map[string]string{"X-RateLimit-Reset": "9", "X-RateLimit-Remaining": "3"}, 0},
		{map[string]string{"RateLimit-Reset": "9"}, 9 * time.Second},
		{map[string]string{"X-RateLimit-Reset-After": "9"}, 9 * time.Second},
		{map[string]string{"X-RateLimit-Reset-Tokens": "2.57s", "X-RateLimit-Remaining-Tokens": "0"}, 2570 * time.Millisecond},
		{map[string]string{"X-RateLimit-Reset-Tokens": "12ms", "X-RateLimit-Reset-Requests": "6m0s",
			"X-RateLimit-Remaining-Tokens": "7", "X-RateLimit-Remaining-Requests": "0"}, 6 * time.Minute},
		{map[string]string{"X-RateLimit-Reset-Tokens-Minute": "9", "X-RateLimit-Reset-Requests-Day": "30000"}, 9 * time.Second},
	}
	for _, c := range cases {
		h := http.Header{}
		for k, v := range c.header {
			h.Set(k, v)
		}
		assert.Equal(t, c.want, Reset(h, now), "%v", c.header)
	}
}

func TestBody(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	cases := []struct {
		body string
		want time.Duration
	}{
		{``, 0},
		{`null`, 0},
		{`{"error":{"message":"Rate limit exceeded"}}`, 0},
		{`[{"error":{"details":[{"@type":"x"},{"@type":"google.rpc.RetryInfo","retryDelay":"9s"}],"message":"Please retry in 12.5s."}}]`, 9 * time.Second},
		{`{"error":{"message":"You exceeded your current quota. Please retry in 9.5s."}}`, 9500 * time.Millisecond},
		{`{"error":{"message":"Limit 100000, Used 99000, Requested 5000. Please try again in 57m36s."}}`, 57*time.Minute + 36*time.Second},
		{`{"error":{"message":"Please try again in 1m2.3s. Visit the console"}}`, 62300 * time.Millisecond},
		{`{"error":{"message":"Please try again in 20ms."}}`, 20 * time.Millisecond},
		{`{"error":{"message":"Please retry after 27 seconds."}}`, 27 * time.Second},
		{`{"error":{"message":"try again in 2 minutes and 5 seconds"}}`, 125 * time.Second},
		{`{"message":"Limit resets at: 2026-11-23T12:00:07Z"}`, 7 * time.Second},
		{`{"error":{"metadata":{"headers":{"X-RateLimit-Reset":"` + fmt.Sprint(now.Add(8*time.Second).UnixMilli()) + `"}}}}`, 8 * time.Second},
		{`{"retry_after": 3.5}`, 3500 * time.Millisecond},
		{`{"error":{"retry_after_ms": 1500}}`, 1500 * time.Millisecond},
		{`{"error":{"retryAfter": 1e300}}`, Most},
		{`{"error":{"message":"try again in 999999999 hours"}}`, Most},
		{`{"error":{"message":"the retry 3 of 5 failed"}}`, 0},
		{`Too many requests, please wait 15 seconds`, 15 * time.Second},
		{`{"retry_after":-4}`, 0},
		{strings.Repeat("[", 5000), 0},
		{strings.Repeat("[", 40) + `{"retry_after":1}` + strings.Repeat("]", 40), 0},
	}
	for _, c := range cases {
		assert.Equal(t, c.want, Body([]byte(c.body), now), "%.200s", c.body)
	}
}

func FuzzBody(f *testing.F) {
	f.Add([]byte(`{"error":{"message":"Please retry in 9.5s.","retryDelay":"9s","headers":{"retry-after":"3"}}}`))
	f.Add([]byte("try again in 1m2.3s"))
	f.Fuzz(func(t *testing.T, body []byte) {
		wait := Body(body, time.Unix(1_790_000_000, 0))
		assert.GreaterOrEqual(t, wait, time.Duration(0))
		assert.LessOrEqual(t, wait, Most)
	})
}

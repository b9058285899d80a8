package endpoint

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseURL(t *testing.T) {
	t.Parallel()
	schemes := map[string]Scheme{"x": {HTTP: "http", Port: "8000"}, "x+https": {HTTP: "https"}}
	cases := []struct {
		raw  string
		want URL
		err  string
	}{
		{"x://127.0.0.1", URL{"x://127.0.0.1", "http://127.0.0.1:8000", false}, ""},
		{"x://gpu-1:9000/", URL{"x://gpu-1:9000", "http://gpu-1:9000", true}, ""},
		{"x://[::1]", URL{"x://[::1]", "http://[::1]:8000", false}, ""},
		{"x://localhost/v1/", URL{"x://localhost/v1", "http://localhost:8000", false}, ""},
		{"x+https://host/prefix/v1", URL{"x+https://host/prefix/v1", "https://host/prefix", false}, ""},
		{"X://h", URL{"x://h", "http://h:8000", true}, ""},
		{"x://user:hunter2@host", URL{}, "environment: THE_KEY"},
		{"x://user:hunter%2@host", URL{}, "environment"},
		{"x://host?key=hunter2", URL{}, "environment"},
		{"x://host#hunter2", URL{}, "environment"},
		{"x://", URL{}, "names no host"},
		{"x:host", URL{}, "names no host"},
		{"x://host:80a", URL{}, "invalid port"},
		{"y://host", URL{}, "unknown scheme"},
		{"", URL{}, "unknown scheme"},
	}
	for _, c := range cases {
		got, err := ParseURL(c.raw, schemes, "THE_KEY")
		if c.err != "" {
			require.ErrorContains(t, err, c.err, c.raw)
			assert.NotContains(t, err.Error(), "hunter")
			continue
		}
		require.NoError(t, err, c.raw)
		assert.Equal(t, c.want, got, c.raw)
	}
}

func TestTextsAreCutBetweenCharacters(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "a b c", OneLine(" a\n\tb  c "))
	long := strings.Repeat("€", 2*MaxPartialBytes)
	for name, got := range map[string]string{"message": OneLine(long), "partial": Partial("x" + long)} {
		assert.True(t, utf8.ValidString(got), name)
	}
	assert.Len(t, strings.TrimSuffix(OneLine(long), "…"), MaxMessageBytes-MaxMessageBytes%len("€"))
	assert.Len(t, Partial("x"+long), MaxPartialBytes)
	assert.Equal(t, "x", Partial("x \r\n"))
}

// SGLang closes a connection after 5.0 s without requests. SGLang and Dynamo send headers only when a request leaves the queue.
func TestTransportFitsServersThatQueue(t *testing.T) {
	t.Parallel()
	transport := NewTransport()
	assert.Positive(t, transport.IdleConnTimeout)
	assert.Less(t, transport.IdleConnTimeout, 5*time.Second)
	assert.Zero(t, transport.ResponseHeaderTimeout)
}

func TestKeyIsTheFirstSetVariable(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"A": " ", "B": " second\n", "C": "third"}
	get := func(name string) string { return vars[name] }
	assert.Equal(t, "second", Key(get, "A", "B", "C"))
	assert.Empty(t, Key(get, "A", "D"))
}

func TestRefusalsAreLimited(t *testing.T) {
	t.Parallel()
	var r Refusals
	assert.True(t, r.Add("m", "streaming"))
	assert.False(t, r.Add("m", "streaming"))
	for i := range 3 * maxRefusals {
		r.Add(strings.Repeat("x", i), "a")
	}
	assert.LessOrEqual(t, len(r.seen), maxRefusals)
}

func TestKeyIsRedactedInMessages(t *testing.T) {
	t.Parallel()
	cases := []struct{ message, key, want string }{
		{"bad key sk-secret-1.", "sk-secret-1", "bad key [key]."},
		{"xsk-secret-1x", "sk-secret-1", "x[key]x"},
		{"the model `fake` does not exist", "fake", "the model `fake` does not exist"},
		{"Incorrect API key: fake", "fake", "Incorrect API key: [key]"},
		{"key abc1 is not in xabc1x", "abc1", "key [key] is not in xabc1x"},
		{"a test of a key", "a", "a test of a key"},
		{"EMPTYING the queue", "EMPTY", "EMPTYING the queue"},
		{"nothing", "", "nothing"},
	}
	for _, c := range cases {
		assert.Equal(t, c.want, WithoutKey(c.message, c.key), c.message)
	}
}

func TestLongWaitsAreLoggedOnce(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(&b, nil))
	var w LongWaits
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	w.Tell(log, "x://h", 30*time.Second, now)
	assert.Empty(t, b.String())
	for i := range 5 {
		w.Tell(log, "x://h", 24*time.Hour, now.Add(time.Duration(i)*time.Second))
	}
	assert.Equal(t, 1, strings.Count(b.String(), "until=2026-12-01T12:00:00Z"))
	w.Tell(log, "x://h", 24*time.Hour, now.Add(time.Hour))
	assert.Equal(t, 2, strings.Count(b.String(), "level=WARN"))
}

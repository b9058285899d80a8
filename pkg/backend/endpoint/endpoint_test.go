package endpoint

import (
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

func TestWordsAreBoundedAndWhole(t *testing.T) {
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

// SGLang closes a connection that was idle for 5.0 s, and sends headers only when a request leaves its queue, as Dynamo
// does.
func TestTransportFitsServersThatQueue(t *testing.T) {
	t.Parallel()
	transport := NewTransport()
	assert.Positive(t, transport.IdleConnTimeout)
	assert.Less(t, transport.IdleConnTimeout, 5*time.Second)
	assert.Zero(t, transport.ResponseHeaderTimeout)
}

func TestKeyIsTheFirstThatIsSet(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"A": " ", "B": " second\n", "C": "third"}
	get := func(name string) string { return vars[name] }
	assert.Equal(t, "second", Key(get, "A", "B", "C"))
	assert.Empty(t, Key(get, "A", "D"))
}

func TestRefusalsAreBounded(t *testing.T) {
	t.Parallel()
	var r Refusals
	assert.True(t, r.Add("m", "streaming"))
	assert.False(t, r.Add("m", "streaming"))
	for i := range 3 * maxRefusals {
		r.Add(strings.Repeat("x", i), "a")
	}
	assert.LessOrEqual(t, len(r.seen), maxRefusals)
}

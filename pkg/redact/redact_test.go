package redact

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const key = "sk-live/4f9a8+c21e=7b0d6&3a5"

func TestText(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, secret, text, want string }{
		{"plain", key, "bad key " + key + ".", "bad key [secret]."},
		{"within a word", "sk-secret-1", "xsk-secret-1x", "x[secret]x"},
		{"query", key, "?key=" + url.QueryEscape(key) + "&x", "?key=[secret]&x"},
		{"query in lower case", key, "?key=sk-live%2f4f9a8%2bc21e%3d7b0d6%263a5", "?key=[secret]"},
		{"JSON", `p"ss\word1`, `{"k":"p\"ss\\word1"}`, `{"k":"[secret]"}`},
		{"JSON with escaped ampersand", key, `{"k":"sk-live/4f9a8+c21e=7b0d6\u00263a5"}`, `{"k":"[secret]"}`},
		{"HTML", key, "<b>sk-live/4f9a8+c21e=7b0d6&amp;3a5</b>", "<b>[secret]</b>"},
		{"hex", key, hex.EncodeToString([]byte(key)), "[secret]"},
		{"upper hex", key, strings.ToUpper(hex.EncodeToString([]byte(key))), "[secret]"},
		{"twice", key, key + key, "[secret][secret]"},
		{"its own prefix first", "aab-aab-aac1", "aab-aab-aab-aac1", "aab-[secret]"},
		{"short word", "EMPTY", "EMPTYING the EMPTY queue", "EMPTYING the [secret] queue"},
		{"word of letters", "placeholder", "placeholders are placeholder", "placeholders are [secret]"},
		{"word beside an umlaut", "test", "ätest", "ätest"},
		{"too short", "a", "a test of a key", "a test of a key"},
		{"missing", "", "nothing", "nothing"},
		{"line of a key file", "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\n-----END KEY-----\n", "x MIIEvQIBADANBgkqhkiG x", "x [secret] x"},
		{"cut by its source", key, "bad key sk-live/4f9a8+c21e=", "bad key [secret]"},
		{"short start of a secret", key, "bad key sk-live/", "bad key sk-live/"},
	}
	for _, c := range cases {
		assert.Equal(t, c.want, New(c.secret).Text(c.text), c.name)
	}
	assert.Equal(t, key, (*Secrets)(nil).Text(key))
}

func TestLongestSecretWins(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "x [secret] y", New("postgres://u", "postgres://u:hunter2hunter2@h/db").Text("x postgres://u:hunter2hunter2@h/db y"))
}

// No cut of a redacted stream shows more than half of a secret, for any offset and any chunks.
func TestStreamAtEveryOffset(t *testing.T) {
	t.Parallel()
	s := New(key, "other-secret-0123456789")
	for offset := range 200 {
		text := strings.Repeat("x", offset) + key + " and other-secret-0123456789 end"
		want := strings.Repeat("x", offset) + "[secret] and [secret] end"
		for _, size := range []int{1, 2, 3, 7, 64, 1000} {
			var out strings.Builder
			w := s.Writer(&out)
			for rest := text; rest != ""; {
				n := min(size, len(rest))
				_, err := io.WriteString(w, rest[:n])
				require.NoError(t, err)
				rest = rest[n:]
			}
			require.NoError(t, w.Close())
			require.Equal(t, want, out.String())
		}
		got, err := io.ReadAll(s.Reader(iotest.OneByteReader(strings.NewReader(text))))
		require.NoError(t, err)
		require.Equal(t, want, string(got))
		for limit := 0; offset%20 == 0 && limit < len(text); limit++ {
			got, err := io.ReadAll(io.LimitReader(s.Reader(strings.NewReader(text)), int64(limit)))
			require.NoError(t, err)
			require.Equal(t, want[:min(limit, len(want))], string(got))
		}
	}
}

// A finished line arrives before the stream ends.
func TestLinesReturnsCompleteLinesAtOnce(t *testing.T) {
	t.Parallel()
	from, to := io.Pipe()
	r := New(key).Lines(from)
	go func() {
		_, _ = io.WriteString(to, "data: a "+key[:9])
		_, _ = io.WriteString(to, key[9:]+"\n\n"+"data: sk-li")
	}()
	got := make([]byte, 100)
	n, err := io.ReadAtLeast(r, got, len("data: a [secret]\n\n"))
	require.NoError(t, err)
	require.NoError(t, to.Close())
	rest, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Equal(t, "data: a [secret]\n\ndata: sk-li", string(got[:n])+string(rest))

	long := strings.Repeat("x", 3<<20)
	rest, err = io.ReadAll(New(key).Lines(strings.NewReader(long)))
	require.NoError(t, err)
	assert.Len(t, rest, len(long))
}

func TestReaderReportsErrors(t *testing.T) {
	t.Parallel()
	failed := errors.New("reset")
	got, err := io.ReadAll(New(key).Reader(io.MultiReader(strings.NewReader("a "+key), iotest.ErrReader(failed))))
	require.ErrorIs(t, err, failed)
	assert.Equal(t, "a [secret]", string(got))
}

func TestErrorKeepsItsCause(t *testing.T) {
	t.Parallel()
	cause := errors.New("refused " + key)
	err := New(key).Error(fmt.Errorf("call: %w", cause))
	require.ErrorIs(t, err, cause)
	assert.EqualError(t, err, "call: refused [secret]")
	assert.Same(t, cause, New("another-secret").Error(cause))
	assert.NoError(t, New(key).Error(nil))
}

func FuzzStreamEqualsText(f *testing.F) {
	f.Add("a "+key+" b", 3)
	f.Add("EMPTY EMPTY", 1)
	f.Add(`%2525252541&amp;amp;amp;#x00041;\\\\\\u0041\ud83d\\udd11 \U0001F511`, 2)
	f.Add(hex.EncodeToString([]byte(key))+base64.StdEncoding.EncodeToString([]byte(key))+"\r\n", 5)
	s := New(append(keys, "EMPTY", "aab-aab-aac1")...)
	f.Fuzz(func(t *testing.T, text string, size int) {
		size = max(1, size%50)
		var out strings.Builder
		w := s.Writer(&out)
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			_, _ = io.WriteString(w, rest[:n])
			rest = rest[n:]
		}
		require.NoError(t, w.Close())
		require.Equal(t, s.Text(text), out.String())
		require.NotContains(t, strings.ReplaceAll(out.String(), Mark, " "), key)
	})
}

package vllmsim

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// recordedServer is configured like the recorded server.
func recordedServer(t *testing.T) *Server {
	t.Helper()
	s, err := New(Config{Model: "smollm2-135m", MaxModelLen: 4096, StreamInterval: 1})
	require.NoError(t, err)
	return s
}

// TestErrorsMatchRecordings compares whole error bodies, because clients classify errors by them.
func TestErrorsMatchRecordings(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"err-bad-json", "err-cache-salt", "err-empty-messages", "err-empty-tools", "err-five-stops", "err-method", "err-named-unknown-tool",
		"err-negative-max-tokens", "err-not-found", "err-prompt-plus-max-tokens", "err-stream-options-without-stream", "err-temperature",
		"err-too-long", "err-too-long-stream", "err-tool-choice-without-tools", "err-unknown-model", "max-tokens-zero", "structured-and-named-tool",
		"version",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, got := replay(t, recordedServer(t), name, nil)
			assert.Equal(t, want.StatusCode, got.StatusCode)
			assert.Equal(t, want.Header.Get("Content-Type"), got.Header.Get("Content-Type"))
			assert.Equal(t, want.Header.Get("Allow"), got.Header.Get("Allow"))
			assert.Equal(t, body(t, want), body(t, got))
		})
	}
}

func TestKeyAndQueueErrorsMatchRecordings(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"err-no-key", "err-bad-key", "err-queue-full", "err-queue-full-stream"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := Config{Model: "smollm2-135m", APIKey: "the key"}
			edit := func(r *http.Request) {}
			if strings.Contains(name, "queue-full") {
				cfg.MaxQueued = 1
				edit = func(r *http.Request) { r.Header.Set("Authorization", "Bearer the key") }
			}
			s, err := New(cfg)
			require.NoError(t, err)
			_, err = s.engine.admit(pass{promptTokens: 1, outputTokens: 1})
			require.NoError(t, err)
			want, got := replay(t, s, name, edit)
			assert.Equal(t, want.StatusCode, got.StatusCode)
			assert.Equal(t, body(t, want), body(t, got))
		})
	}
}

// TestBodiesMatchRecordings compares the order of fields, and the values that clients use.
func TestBodiesMatchRecordings(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"chat", "chat-stop-string", "tools-auto-call", "tools-required", "tools-named", "tool-result-missing-content",
		"unknown-role-is-accepted", "unknown-fields", "max-tokens-over-window-is-clamped", "models", "json-schema-invalid",
		"tokenize-chat", "tokenize-prompt", "request-id-body", "health",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, got := replay(t, recordedServer(t), name, nil)
			assert.Equal(t, want.StatusCode, got.StatusCode)
			assert.Equal(t, want.Header.Get("Content-Type"), got.Header.Get("Content-Type"))
			assert.Equal(t, shape(t, body(t, want)), shape(t, body(t, got)))
		})
	}
}

func TestStreamsMatchRecordings(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"chat-stream", "chat-stream-no-usage", "chat-stream-length", "tools-auto-call-stream", "tools-required-stream", "tools-named-stream",
		"tools-auto-call-cut-by-length-stream", "tool-result-turn-stream", "tools-none-stream",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			edit := func(*http.Request) {}
			if name == "chat-stream-length" { // the simulator's answers are shorter than the recorded limit
				edit = func(r *http.Request) {
					b, err := io.ReadAll(r.Body)
					require.NoError(t, err)
					r.Body = io.NopCloser(bytes.NewReader(bytes.Replace(b, []byte(`"max_tokens": 24`), []byte(`"max_tokens": 5`), 1)))
				}
			}
			want, got := replay(t, recordedServer(t), name, edit)
			assert.Equal(t, want.StatusCode, got.StatusCode)
			assert.Equal(t, want.Header.Get("Content-Type"), got.Header.Get("Content-Type"))
			assert.Equal(t, eventShapes(t, body(t, want)), eventShapes(t, body(t, got)))
		})
	}
}

// another lists recordings of a server with other features, with the status of the simulator.
var another = map[string]int{
	"chat-n2": http.StatusBadRequest, // the simulator refuses more than one choice with a clear message
}

// TestOnlyRecordedFormsAreSent replays every recorded request. The simulator must accept or refuse it like the real server. It
// may send only forms that the real server sent. The model's choices may differ (a call or a text, the end or the limit), but
// their framing may not.
func TestOnlyRecordedFormsAreSent(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.request")
	require.NoError(t, err)
	require.Greater(t, len(files), 90)
	type exchange struct {
		name      string
		want, got *http.Response
		says      []string
	}
	var all []exchange
	real := map[string]bool{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".request")
		want, got := replay(t, guardedLike(t, name), name, nil)
		all = append(all, exchange{name, want, got, forms(t, body(t, got))})
		said, err := io.ReadAll(want.Body)
		if err == nil { // otherwise the client had disconnected
			for _, form := range forms(t, string(said)) {
				real[form] = true
			}
		}
	}
	for _, x := range all {
		if status, ok := another[x.name]; ok {
			assert.Equal(t, status, x.got.StatusCode, x.name)
			continue
		}
		assert.Equal(t, x.want.StatusCode, x.got.StatusCode, x.name)
		assert.Equal(t, x.want.Header.Get("Content-Type"), x.got.Header.Get("Content-Type"), x.name)
		for _, form := range x.says {
			assert.True(t, real[form], "%s: no real server sent %s", x.name, form)
		}
	}
}

// guardedLike returns a server with the API key and queue limit of the recorded one.
func guardedLike(t *testing.T, name string) *Server {
	t.Helper()
	cfg := Config{Model: "smollm2-135m", MaxModelLen: 4096, StreamInterval: 1}
	if name == "err-no-key" || name == "err-bad-key" {
		cfg.APIKey = "the key"
	}
	full := strings.HasPrefix(name, "err-queue-full")
	if full {
		cfg.MaxQueued = 1
	}
	s, err := New(cfg)
	require.NoError(t, err)
	if full {
		_, err = s.engine.admit(pass{promptTokens: 1, outputTokens: 1})
		require.NoError(t, err)
	}
	return s
}

// forms returns the shapes of a stream's events, or of a body. Comments and metrics have none.
func forms(t *testing.T, text string) []string {
	t.Helper()
	if strings.HasPrefix(text, "{") {
		return []string{shape(t, text)}
	}
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		if data, ok := strings.CutPrefix(line, "data: {"); ok {
			out = append(out, shape(t, "{"+data))
		}
	}
	return out
}

// replay sends a recorded request to s. It returns the recorded response and the response of s.
func replay(t *testing.T, s *Server, name string, edit func(*http.Request)) (want, got *http.Response) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".request"))
	require.NoError(t, err)
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	require.NoError(t, err)
	if edit != nil {
		edit(req)
	}
	raw, err = os.ReadFile(filepath.Join("testdata", name+".response"))
	require.NoError(t, err)
	want, err = http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), req)
	require.NoError(t, err)
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, req)
	return want, rec.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.NoError(t, r.Body.Close())
	return string(b)
}

// eventShapes returns the shapes of a stream's events. Equal neighbours count once, because texts differ in length.
func eventShapes(t *testing.T, stream string) []string {
	t.Helper()
	var out []string
	for event := range strings.SplitSeq(strings.TrimSuffix(stream, "\n\n"), "\n\n") {
		data, ok := strings.CutPrefix(event, "data: ")
		require.True(t, ok, event)
		s := data
		if data != "[DONE]" {
			s = shape(t, data)
		}
		if len(out) == 0 || out[len(out)-1] != s {
			out = append(out, s)
		}
	}
	return out
}

// shape keeps the order of fields in a JSON text and the values that clients use. All other values are replaced by their types.
func shape(t *testing.T, text string) string {
	t.Helper()
	if text == "" {
		return ""
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var b strings.Builder
	var walk func(key string)
	walk = func(key string) {
		tok, err := d.Token()
		require.NoError(t, err)
		switch v := tok.(type) {
		case json.Delim:
			b.WriteString(v.String())
			elements := map[string]bool{}
			for d.More() {
				if v == '{' {
					k, err := d.Token()
					require.NoError(t, err)
					fmt.Fprintf(&b, "%v:", k)
					walk(k.(string))
					b.WriteByte(' ')
					continue
				}
				at := b.Len()
				walk(key)
				if element := b.String()[at:]; elements[element] { // count equal elements of a list once
					keep := b.String()[:at]
					b.Reset()
					b.WriteString(keep)
				} else {
					elements[element] = true
				}
			}
			end, err := d.Token()
			require.NoError(t, err)
			fmt.Fprint(&b, end)
		case string:
			switch key {
			case "role", "object", "type", "finish_reason", "param":
				fmt.Fprintf(&b, "%q", v)
			default:
				b.WriteString("string")
			}
		case json.Number:
			b.WriteString("number")
		default:
			fmt.Fprintf(&b, "%v", v)
		}
	}
	walk("")
	return b.String()
}

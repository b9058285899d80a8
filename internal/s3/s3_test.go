package s3

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "planted-secret-key"

// store is a small store of objects whose next answers a test decides.
type store struct {
	objects map[string]string
	before  func(w http.ResponseWriter, r *http.Request) (answered bool)
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.before != nil && s.before(w, r) {
		return
	}
	content, there := s.objects[r.URL.Path]
	tag := fmt.Sprintf("%q", sumOf([]byte(content))[:8])
	switch r.Method {
	case http.MethodPut:
		if want := r.Header.Get("If-Match"); r.Header.Get("If-None-Match") == "*" && there || want != "" && want != tag {
			w.WriteHeader(http.StatusPreconditionFailed)
			return
		}
		body, _ := io.ReadAll(r.Body)
		s.objects[r.URL.Path] = string(body)
		w.Header().Set("ETag", fmt.Sprintf("%q", sumOf(body)[:8]))
	default:
		if !there {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("ETag", tag)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
	}
}

// open returns a store and its client.
func open(t *testing.T) (*store, *Client) {
	t.Helper()
	s := &store{objects: map[string]string{}}
	server := httptest.NewServer(s)
	c, err := FromEnv(func(name string) string {
		return map[string]string{keyVariable: "KEY", secretVariable: secret, "AWS_ENDPOINT_URL": server.URL}[name]
	})
	require.NoError(t, err)
	c.firstWait = time.Millisecond
	t.Cleanup(func() { c.Close(); server.Close() })
	return s, c
}

func put(t *testing.T, c *Client, content string, only Condition) (string, error) {
	t.Helper()
	return c.Store(t.Context(), name, strings.NewReader(content), int64(len(content)), only)
}

var name = Name{"bucket", "a/r.jsonl"}

func TestParse(t *testing.T) {
	n, err := Parse("s3://bucket/a/ü b.csv")
	require.NoError(t, err)
	assert.Equal(t, Name{"bucket", "a/ü b.csv"}, n)
	for _, bad := range []string{"s3://", "s3://bucket", "s3://bucket/", "s3://bucket/a/", "s3:///a", "s3://user:word@bucket/a", "s3://bucket/../a", "file.csv"} {
		_, err := Parse(bad)
		assert.True(t, fault.IsUsage(err), bad)
	}
	assert.Equal(t, "/bucket/a%20%C3%BC%2Bb", escapePath("/bucket/a ü+b"))
}

func TestFetchContinuesAfterABrokenConnection(t *testing.T) {
	s, c := open(t)
	want := strings.Repeat("0123456789", 100_000)
	_, err := put(t, c, want, Condition{})
	require.NoError(t, err)
	broken := 0
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if broken == 3 {
			return false
		}
		broken++
		w.Header().Set("ETag", fmt.Sprintf("%q", sumOf([]byte(want))[:8]))
		from := 0
		_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		w.Header().Set("Content-Length", fmt.Sprint(len(want)-from))
		if from > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = io.WriteString(w, want[from:from+200_000])
		panic(http.ErrAbortHandler)
	}
	var got bytes.Buffer
	_, err = c.Fetch(t.Context(), name, &got)
	require.NoError(t, err)
	assert.Equal(t, 3, broken)
	assert.True(t, want == got.String(), "every byte once")
}

func TestStoreKeepsOtherVersions(t *testing.T) {
	s, c := open(t)
	first, err := put(t, c, "one", Condition{Absent: true})
	require.NoError(t, err)
	_, err = put(t, c, "two", Condition{Absent: true})
	require.ErrorIs(t, err, ErrChanged)
	second, err := put(t, c, "two", Condition{Version: first})
	require.NoError(t, err)
	_, err = put(t, c, "three", Condition{Version: first})
	require.ErrorIs(t, err, ErrChanged)
	assert.Equal(t, "two", s.objects["/bucket/a/r.jsonl"])

	// The answer to an upload is lost. Its repetition finds the content that it wrote itself.
	lost := false
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || lost {
			return false
		}
		lost = true
		body, _ := io.ReadAll(r.Body)
		s.objects[r.URL.Path] = string(body)
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	_, err = put(t, c, "three", Condition{Version: second})
	require.NoError(t, err)

	// A store without conditional writes.
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("If-Match")+r.Header.Get("If-None-Match") == "" {
			return false
		}
		w.WriteHeader(http.StatusNotImplemented)
		return true
	}
	_, err = put(t, c, "four", Condition{Version: second})
	require.ErrorIs(t, err, ErrChanged)
	now, err := c.Version(t.Context(), name)
	require.NoError(t, err)
	_, err = put(t, c, "four", Condition{Version: now})
	require.NoError(t, err)
	assert.Equal(t, "four", s.objects["/bucket/a/r.jsonl"])
}

func TestErrors(t *testing.T) {
	for says, c := range map[string]struct {
		status int
		body   string
		usage  bool
	}{
		"the bucket bucket does not exist":                {404, "<Error><Code>NoSuchBucket</Code></Error>", true},
		"refuses the credentials (SignatureDoesNotMatch)": {403, "<Error><Code>SignatureDoesNotMatch</Code><StringToSign>" + secret + "</StringToSign></Error>", true},
		"denies access (AccessDenied)":                    {403, "<Error><Code>AccessDenied</Code></Error>", true},
		"set AWS_REGION=eu-west-1":                        {301, "<Error><Code>PermanentRedirect</Code><Region>eu-west-1</Region></Error>", true},
		"refuses the request: Odd it is odd ":             {400, "<Error><Code>Odd</Code><Message>it is odd " + secret + "</Message></Error>", true},
		"answers SlowDown; try again later":               {503, "<Error><Code>SlowDown</Code></Error>", false},
		"no such object":                                  {404, "", true},
	} {
		t.Run(says, func(t *testing.T) {
			s, client := open(t)
			asked := 0
			s.before = func(w http.ResponseWriter, _ *http.Request) bool {
				asked++
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
				return true
			}
			_, err := client.Fetch(t.Context(), name, io.Discard)
			require.ErrorContains(t, err, says)
			assert.NotContains(t, err.Error(), secret)
			assert.Equal(t, c.usage, fault.IsUsage(err))
			assert.Equal(t, !c.usage, fault.IsUnreachable(err))
			assert.Equal(t, map[bool]int{true: 1, false: tries}[c.usage], asked)
		})
	}
}

func TestMirrorOfAKilledCommand(t *testing.T) {
	s, c := open(t)
	root := t.TempDir()
	mirror := func() *Mirror {
		m, err := c.Mirror(t.Context(), root, name, ".jsonl")
		require.NoError(t, err)
		return m
	}
	m := mirror()
	require.NoError(t, os.WriteFile(m.Path(), []byte("one\n"), 0o600))
	_, err := c.Mirror(t.Context(), root, name, ".jsonl")
	require.ErrorContains(t, err, "another command on this machine writes to it")
	require.NoError(t, m.Upload(t.Context()))
	require.NoError(t, m.Close())
	assert.Equal(t, "one\n", s.objects["/bucket/a/r.jsonl"])
	left, err := filepath.Glob(filepath.Join(root, "*", "*"))
	require.NoError(t, err)
	assert.Empty(t, left)

	// The command is killed before its upload.
	m = mirror()
	text, err := os.ReadFile(m.Path())
	require.NoError(t, err)
	assert.Equal(t, "one\n", string(text))
	require.NoError(t, os.WriteFile(m.Path(), []byte("one\ntwo\n"), 0o600))
	require.NoError(t, m.Close())
	// It is killed after its upload, before it recorded it.
	m = mirror()
	s.objects["/bucket/a/r.jsonl"] = "one\ntwo\n"
	require.NoError(t, m.Close())
	m = mirror()
	require.NoError(t, m.Upload(t.Context()))
	require.NoError(t, m.Close())

	// Another program changes the object, before and after the next command begins.
	m = mirror()
	require.NoError(t, os.WriteFile(m.Path(), []byte("mine\n"), 0o600))
	s.objects["/bucket/a/r.jsonl"] = "theirs\n"
	require.ErrorContains(t, m.Upload(t.Context()), "changed by another program")
	require.NoError(t, m.Close())
	_, err = c.Mirror(t.Context(), root, name, ".jsonl")
	require.ErrorContains(t, err, "move this folder away")
	assert.Equal(t, "theirs\n", s.objects["/bucket/a/r.jsonl"])
}

func TestLargeObjectsHaveParts(t *testing.T) {
	s, c := open(t)
	var parts []string
	aborted := false
	fail := false
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		q := r.URL.Query()
		switch {
		case r.Method == http.MethodPost && q.Has("uploads"):
			_, _ = io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
		case r.Method == http.MethodPut && fail && q.Get("partNumber") == "2":
			w.WriteHeader(http.StatusForbidden)
		case r.Method == http.MethodPut:
			n, _ := io.Copy(io.Discard, r.Body)
			parts = append(parts, fmt.Sprint(q.Get("partNumber"), ":", n))
			w.Header().Set("ETag", `"p`+q.Get("partNumber")+`"`)
		case r.Method == http.MethodDelete:
			aborted = true
			w.WriteHeader(http.StatusNoContent)
		case r.Method == http.MethodPost:
			body, _ := io.ReadAll(r.Body)
			parts = append(parts, string(body))
			_, _ = io.WriteString(w, `<CompleteMultipartUploadResult><ETag>"whole"</ETag></CompleteMultipartUploadResult>`)
		}
		return true
	}
	size := int64(wholeUpload + 10)
	version, err := c.Store(t.Context(), name, zeros{}, size, Condition{})
	require.NoError(t, err)
	assert.Equal(t, `"whole"`, version)
	assert.Equal(t, []string{fmt.Sprint("1:", wholeUpload), "2:10",
		"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&#34;p1&#34;</ETag></Part><Part><PartNumber>2</PartNumber><ETag>&#34;p2&#34;</ETag></Part></CompleteMultipartUpload>"}, parts)
	fail = true
	_, err = c.Store(context.Background(), name, zeros{}, size, Condition{})
	require.ErrorContains(t, err, "denies access")
	assert.True(t, aborted, "parts of an upload that failed are removed")
}

// zeros is an endless content.
type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

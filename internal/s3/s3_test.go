package s3

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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
	objects      map[string]string
	noConditions bool // it ignores If-Match and If-None-Match
	before       func(w http.ResponseWriter, r *http.Request) (answered bool)
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.before != nil && s.before(w, r) {
		return
	}
	content, there := s.objects[r.URL.Path]
	tag := fmt.Sprintf("%q", sumOf([]byte(content))[:8])
	want := r.Header.Get("If-Match")
	met := s.noConditions || (want == "" || want == tag) && (r.Header.Get("If-None-Match") != "*" || !there)
	switch {
	case !met:
		w.WriteHeader(http.StatusPreconditionFailed)
	case r.Method == http.MethodDelete:
		delete(s.objects, r.URL.Path)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPut:
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

	// A store that ignores conditions: Store asks for the version first.
	s.noConditions = true
	_, err = put(t, c, "four", Condition{Version: second})
	require.ErrorIs(t, err, ErrChanged)
	_, err = put(t, c, "four", Condition{Absent: true})
	require.ErrorIs(t, err, ErrChanged)
	assert.Equal(t, "three", s.objects["/bucket/a/r.jsonl"])
	s.noConditions = false

	// A store that refuses conditions.
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

func TestTransfersWithoutProgressEnd(t *testing.T) {
	s, c := open(t)
	c.stallAfter = 50 * time.Millisecond
	want := strings.Repeat("0123456789", 30_000)
	_, err := put(t, c, want, Condition{})
	require.NoError(t, err)
	tag := fmt.Sprintf("%q", sumOf([]byte(want))[:8])
	ranges := 0
	// It sends 100,000 bytes and then none, or one at a time.
	slow := func(w http.ResponseWriter, r *http.Request, from int, trickle bool) {
		w.Header().Set("ETag", tag)
		w.Header().Set("Content-Length", fmt.Sprint(len(want)-from))
		if from > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		to := min(from+100_000, len(want))
		_, _ = io.WriteString(w, want[from:to])
		_ = http.NewResponseController(w).Flush()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for ; to < len(want); to++ {
			select {
			case <-r.Context().Done():
				return
			case <-tick.C:
				if trickle {
					_, _ = io.WriteString(w, want[to:to+1])
					_ = http.NewResponseController(w).Flush()
				}
			}
		}
	}
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		from := 0
		_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		ranges++
		slow(w, r, from, ranges == 2)
		return true
	}
	var got bytes.Buffer
	_, err = c.Fetch(t.Context(), name, &got)
	require.NoError(t, err)
	assert.Equal(t, 3, ranges)
	assert.True(t, want == got.String(), "every byte once")

	// A store that only trickles.
	asked := 0
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		asked++
		w.Header().Set("ETag", tag)
		w.WriteHeader(map[bool]int{true: http.StatusOK, false: http.StatusPartialContent}[asked == 1])
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, "0")
			_ = http.NewResponseController(w).Flush()
			<-time.After(5 * time.Millisecond)
		}
		return true
	}
	_, err = c.Fetch(t.Context(), name, io.Discard)
	require.ErrorContains(t, err, "almost no progress")
	assert.True(t, fault.IsUnreachable(err))
	assert.Equal(t, tries, asked)

	// A store that does not read an upload.
	over := make(chan struct{}) // a handler that does not read sees no end of its client
	s.before = func(http.ResponseWriter, *http.Request) bool {
		<-over
		return true
	}
	_, err = c.Store(t.Context(), name, zeros{}, wholeUpload, Condition{})
	close(over)
	require.ErrorContains(t, err, "almost no progress")
	assert.True(t, fault.IsUnreachable(err))
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

// The parts were put together, and the answer was lost: the store does not know the upload any more.
func TestLostAnswerToTheLastStepOfAnUpload(t *testing.T) {
	s, c := open(t)
	size := int64(wholeUpload + 10)
	whole := strings.Repeat("\x00", int(size))
	path := "/bucket/a/r.jsonl"
	for name, test := range map[string]struct {
		first    int    // status of the first answer; 0 cuts the connection
		becomes  string // the object that the first request makes
		expected error
	}{
		"status 500":             {500, whole, nil},
		"no answer":              {0, whole, nil},
		"an upload that expired": {500, "", errNoUpload},
		"another object":         {500, "theirs", errNoUpload},
	} {
		t.Run(name, func(t *testing.T) {
			s.objects = map[string]string{}
			completed := 0
			s.before = func(w http.ResponseWriter, r *http.Request) bool {
				q := r.URL.Query()
				switch {
				case r.Method == http.MethodPost && q.Has("uploads"):
					_, _ = io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
				case r.Method == http.MethodPut:
					_, _ = io.Copy(io.Discard, r.Body)
					w.Header().Set("ETag", `"p"`)
				case r.Method == http.MethodPost:
					if completed++; completed > 1 {
						w.WriteHeader(http.StatusNotFound)
						_, _ = io.WriteString(w, "<Error><Code>NoSuchUpload</Code></Error>")
						return true
					}
					if test.becomes != "" {
						s.objects[path] = test.becomes
					}
					if test.first == 0 {
						panic(http.ErrAbortHandler)
					}
					w.WriteHeader(test.first)
				case r.Method == http.MethodDelete && q.Has("uploadId"):
					w.WriteHeader(http.StatusNotFound)
				default:
					return false
				}
				return true
			}
			version, err := c.Store(t.Context(), Name{"bucket", "a/r.jsonl"}, zeros{}, size, Condition{Absent: true})
			require.ErrorIs(t, err, test.expected)
			assert.Equal(t, 2, completed)
			if test.expected == nil {
				assert.Equal(t, fmt.Sprintf("%q", sumOf([]byte(whole))[:8]), version)
			} else {
				assert.True(t, fault.IsUnreachable(err))
			}
		})
	}
}

// zeros is an endless content.
type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

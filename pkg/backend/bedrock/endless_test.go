package bedrock

import (
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
)

// endless is an answer with an endless body.
type endless struct {
	status int
	kind   string
	first  string
	piece  string
	read   int
}

func (e *endless) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: e.status, Header: http.Header{"Content-Type": {e.kind}}, Body: io.NopCloser(e), Request: r, ContentLength: -1, ProtoMajor: 1, ProtoMinor: 1}, nil
}

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	if e.read < len(e.first) {
		n = copy(p, e.first[e.read:])
	}
	for n < len(p) {
		n += copy(p[n:], e.piece)
	}
	e.read += n
	if e.read > 256<<20 {
		return n, io.EOF
	}
	return n, nil
}

// An endless answer ends with an error after a limited number of bytes.
func TestAnswersWithoutEndAreGivenUp(t *testing.T) {
	for name, e := range map[string]*endless{
		"refusal":       {status: 400, kind: "application/json", first: `{"message":"`, piece: "x"},
		"page":          {status: 500, kind: "text/html", piece: "<p>x"},
		"stream":        {status: 200, kind: "application/vnd.amazon.eventstream", piece: "\x00\x00\x00\x10"},
		"stream of one": {status: 200, kind: "application/vnd.amazon.eventstream", first: "\x7f\xff\xff\xf0\x00\x00\x00\x00", piece: "x"},
	} {
		b, err := New(t.Context(), Config{URL: "bedrock://eu-west-1/" + fakeModel, Endpoint: "http://127.0.0.1:1", Credentials: credentials, Transport: e})
		require.NoError(t, err)
		_, err = b.Generate(t.Context(), ask(), backend.Observer{})
		require.Error(t, err, name)
		assert.NotEmpty(t, backend.ClassOf(err), name)
		assert.Less(t, e.read, 40<<20, name)
		assert.NoError(t, b.Close())
	}
}

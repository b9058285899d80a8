package anthropic

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
	status       int
	kind         string
	first, piece string
	read         int
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
	begin := "event: message_start\ndata: " + begin + "\n\n"
	for name, e := range map[string]*endless{
		"refusal":        {status: 400, kind: "application/json", first: `{"error":{"message":"`, piece: "x"},
		"page":           {status: 502, kind: "text/html", piece: "<p>x"},
		"no stream":      {status: 200, kind: "application/json", first: `{"a":"`, piece: "x"},
		"line":           {status: 200, kind: "text/event-stream", first: "data: ", piece: "x"},
		"event of lines": {status: 200, kind: "text/event-stream", piece: "data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n"},
		"text": {status: 200, kind: "text/event-stream", first: begin + "event: content_block_start\ndata: " + textOn + "\n\n",
			piece: "event: content_block_delta\ndata: " + text("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") + "\n\n"},
	} {
		b, err := New(Config{URL: "anthropic://", Getenv: func(string) string { return "sk-ant-test-0123456789" }, Transport: e})
		require.NoError(t, err)
		_, err = b.Generate(t.Context(), ask(), backend.Observer{})
		require.Error(t, err, name)
		assert.NotEmpty(t, backend.ClassOf(err), name)
		assert.Less(t, e.read, 80<<20, name)
		assert.NoError(t, b.Close())
	}
}

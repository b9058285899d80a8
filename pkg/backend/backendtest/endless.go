package backendtest

import (
	"io"
	"net/http"
)

// Endless is a transport whose answer has an endless body: First, and then Piece again and again.
type Endless struct {
	Status       int
	Type         string // Content-Type
	First, Piece string
	Bytes        int // read so far
}

// RoundTrip implements [http.RoundTripper].
func (e *Endless) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: e.Status, Header: http.Header{"Content-Type": {e.Type}}, Body: io.NopCloser(e), Request: r, ContentLength: -1, ProtoMajor: 1, ProtoMinor: 1}, nil
}

// Read ends after 256 MiB, so that a test of a reader without a limit ends too.
func (e *Endless) Read(p []byte) (int, error) {
	n := 0
	if e.Bytes < len(e.First) {
		n = copy(p, e.First[e.Bytes:])
	}
	for n < len(p) {
		n += copy(p[n:], e.Piece)
	}
	e.Bytes += n
	if e.Bytes > 256<<20 {
		return n, io.EOF
	}
	return n, nil
}

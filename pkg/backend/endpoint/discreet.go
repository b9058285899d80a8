package endpoint

import (
	"io"
	"mime"
	"net/http"

	"github.com/batchagent/batchagent/pkg/redact"
)

// Discreet returns a transport that redacts a key in answers before other code can cut them. It passes on an event of a
// stream as soon as the event is complete. It does not redact a key that may be an ordinary word: for that [WithoutKey]
// decides per message.
func Discreet(base http.RoundTripper, key string) http.RoundTripper {
	if redact.IsWord(key) {
		return base
	}
	return discreet{base, redact.New(key)}
}

// Strike returns a reader of r that redacts a key, unless the key may be an ordinary word. It is for compressed
// answers, which [Discreet] cannot read.
func Strike(r io.Reader, key string) io.Reader {
	if redact.IsWord(key) {
		return r
	}
	return redact.New(key).Reader(r)
}

type discreet struct {
	base    http.RoundTripper
	secrets *redact.Secrets
}

func (d discreet) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := d.base.RoundTrip(r)
	if err != nil {
		return nil, d.secrets.Error(err) // it may quote a header that cannot be read
	}
	body := struct {
		io.Reader
		io.Closer
	}{Closer: resp.Body}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind == "text/event-stream" {
		body.Reader = d.secrets.Lines(resp.Body)
	} else {
		body.Reader = d.secrets.Reader(resp.Body)
	}
	resp.Body, resp.ContentLength = body, -1
	return resp, nil
}

// CloseIdleConnections is called by [http.Client].
func (d discreet) CloseIdleConnections() {
	if c, ok := d.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

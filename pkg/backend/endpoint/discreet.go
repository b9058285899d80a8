package endpoint

import (
	"io"
	"mime"
	"net/http"

	"github.com/batchagent/batchagent/pkg/redact"
)

// Discreet returns a transport that strikes a key out of answers, before anything can cut them. An event of a stream is passed
// on as soon as it is complete. A key that may be an ordinary word stays: [WithoutKey] decides by the message.
func Discreet(base http.RoundTripper, key string) http.RoundTripper {
	if redact.IsWord(key) {
		return base
	}
	return discreet{base, redact.New(key)}
}

// Strike returns a reader of r without a key that cannot be an ordinary word. It is for answers that were packed on their way.
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
		return nil, err
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

// CloseIdleConnections lets [http.Client] close them.
func (d discreet) CloseIdleConnections() {
	if c, ok := d.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

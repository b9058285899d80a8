package gateway

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// farewell is the time for an answer after the end of an attempt. A client that is slow must not hold up that end.
const farewell = time.Second

// client is the response to a client. After the end of the attempt it allows neither reading nor long writing. Safe for concurrent use.
//
// Connections of a program serve many jobs. A read that fails after the body would cancel all later requests of its connection.
type client struct {
	http.ResponseWriter
	conn    *http.ResponseController
	hurried chan struct{} // closed at the end of hurry

	mu      sync.Mutex
	late    bool // guarded by mu; the attempt has ended
	reading bool // guarded by mu; the body is not complete
	cut     bool // guarded by mu; the connection cannot be used again
}

// newClient returns the client of a request, and replaces the request's body.
func newClient(w http.ResponseWriter, r *http.Request) *client {
	c := &client{ResponseWriter: w, conn: http.NewResponseController(w), hurried: make(chan struct{}), reading: r.ContentLength != 0}
	r.Body = &body{r.Body, c}
	_ = c.conn.SetWriteDeadline(time.Time{}) // of the request before; a test's recorder has none
	return c
}

// body is a request's body.
type body struct {
	io.ReadCloser
	client *client
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.client.mu.Lock()
		defer b.client.mu.Unlock()
		b.client.reading = false
	}
	return n, err
}

// Unwrap is for [http.ResponseController].
func (c *client) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// hurry is called once, at the end of the attempt.
func (c *client) hurry() {
	defer close(c.hurried)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.late, c.cut = true, c.reading; c.cut {
		_ = c.conn.SetReadDeadline(time.Now())
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(farewell))
}

// end is called at the end of the request.
func (c *client) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		panic(http.ErrAbortHandler) // closes the connection
	}
}

// SetReadDeadline is for [http.ResponseController].
func (c *client) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.late {
		return nil
	}
	return c.conn.SetReadDeadline(t)
}

// SetWriteDeadline is for [http.ResponseController].
func (c *client) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.late {
		return nil
	}
	return c.conn.SetWriteDeadline(t)
}

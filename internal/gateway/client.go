package gateway

import (
	"net/http"
	"sync"
	"time"
)

// farewell is the time for an answer after the end of an attempt. A client that is slow must not hold up that end.
const farewell = time.Second

// client is the response to a client. After the end of the attempt it allows neither reading nor long writing. Safe for concurrent use.
type client struct {
	http.ResponseWriter
	conn    *http.ResponseController
	hurried chan struct{} // closed at the end of hurry

	mu   sync.Mutex
	late bool // guarded by mu; the attempt has ended
}

func newClient(w http.ResponseWriter) *client {
	c := &client{ResponseWriter: w, conn: http.NewResponseController(w), hurried: make(chan struct{})}
	_ = c.conn.SetWriteDeadline(time.Time{}) // of the request before; a test's recorder has none
	return c
}

// Unwrap is for [http.ResponseController].
func (c *client) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// hurry is called once, at the end of the attempt.
func (c *client) hurry() {
	defer close(c.hurried)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.late = true
	_ = c.conn.SetReadDeadline(time.Now())
	_ = c.conn.SetWriteDeadline(time.Now().Add(farewell))
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

package testredis

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
)

// Line loses replies between a client and its server. It is safe for concurrent use.
type Line struct {
	dial Dialer

	mu   sync.Mutex
	lose []byte // guarded by mu; the reply to the next request with this text is lost
	lost int    // guarded by mu
}

// NewLine wraps dial. A nil dial uses the network.
func NewLine(dial Dialer) *Line {
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return &Line{dial: dial}
}

// Dial connects through the line.
func (l *Line) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := l.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &lineConn{Conn: c, line: l}, nil
}

// LoseReply arms the line. The server executes the next request that contains text, but the client's connection ends instead of
// delivering the reply. Error replies are delivered and leave the line armed, so that a script the server does not know yet is
// sent again.
func (l *Line) LoseReply(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose = bytes.ToLower([]byte(text))
}

// Lost returns the number of lost replies.
func (l *Line) Lost() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

func (l *Line) matches(request []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lose != nil && bytes.Contains(bytes.ToLower(request), l.lose)
}

// take disarms the line, once.
func (l *Line) take() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lose == nil {
		return false
	}
	l.lose = nil
	l.lost++
	return true
}

// lineConn is used by one goroutine at a time, like every connection of a pool.
type lineConn struct {
	net.Conn
	line   *Line
	doomed bool // the next reply is lost
	ended  bool // the client's side has ended
}

func (c *lineConn) Write(p []byte) (int, error) {
	if c.line.matches(p) {
		c.doomed = true
	}
	return c.Conn.Write(p)
}

func (c *lineConn) Read(p []byte) (int, error) {
	if c.ended {
		return 0, io.EOF
	}
	n, err := c.Conn.Read(p)
	if err != nil || !c.doomed {
		return n, err
	}
	c.doomed = false
	if p[0] == '-' || !c.line.take() {
		return n, nil
	}
	c.ended = true
	return 0, io.EOF
}

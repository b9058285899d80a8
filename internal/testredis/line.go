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

// NewLine puts a line before dial; nil is the network.
func NewLine(dial Dialer) *Line {
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return &Line{dial: dial}
}

// Dial connects over the line.
func (l *Line) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := l.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &lineConn{Conn: c, line: l}, nil
}

// LoseReply arms the line: the server will execute the next request whose bytes contain text, and the client will see
// its connection end instead of the reply. Answers that are errors pass and leave the line armed, so that a script
// that the server does not know yet is sent again.
func (l *Line) LoseReply(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose = bytes.ToLower([]byte(text))
}

// Lost is how many replies were lost.
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

// lineConn is used by one goroutine at a time, as every connection of a pool is.
type lineConn struct {
	net.Conn
	line   *Line
	doomed bool // the next reply is lost
	ended  bool // for the client
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

package sim

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// exchange is one request, or one pipeline of requests, with the answers of Redis.
type exchange struct {
	proc     *process
	requests [][]string
	survives bool // still arrives if its process dies now

	answer atomic.Pointer[[]any] // set by the link after Redis answered; nil while a request blocks there
	link   *link
}

// abandoned reports whether the process has closed the connection.
func (x *exchange) abandoned() bool { return x.link.closed.Load() }

// replies returns the answers of Redis, one per request. It returns nil until Redis has answered.
func (x *exchange) replies() []any {
	if r := x.answer.Load(); r != nil {
		return *r
	}
	return nil
}

// link is one connection between a process and Redis. Requests and replies may get lost. Their content determines their delay.
type link struct {
	proc   *process
	client net.Conn // the network's end of the pipe to the process
	server net.Conn
	once   sync.Once
	closed atomic.Bool   // the process closed its end
	gone   chan struct{} // closed by vanish
}

// vanish makes the link look closed to its next user. Goroutines that wait on it do not notice yet.
func (l *link) vanish() { l.once.Do(func() { close(l.gone) }) }

// hangUp closes the process's side. A request on its way still arrives.
func (l *link) hangUp() {
	l.vanish()
	_ = l.client.Close()
}

// reset closes both sides.
func (l *link) reset() {
	l.hangUp()
	_ = l.server.Close()
	l.proc.net.mu.Lock()
	delete(l.proc.net.links, l)
	l.proc.net.mu.Unlock()
}

// relay carries requests and replies until the connection ends.
func (l *link) relay() {
	defer l.reset()
	requests, replies := bufio.NewReaderSize(l.client, 1<<15), bufio.NewReaderSize(l.server, 1<<12)
	for {
		batch, raw, err := readPipeline(requests)
		if err != nil {
			return
		}
		x := &exchange{proc: l.proc, requests: batch, link: l}
		v := l.proc.verdict(x)
		// A handshake has no delay: the Go scheduler decides which command needs a new connection.
		handshake := isHandshake(batch)
		if !handshake {
			l.proc.net.note(func(n *network) { n.sent = append(n.sent, x) })
			if v.loseRequest {
				l.travel(v.there, v.rank, nil)
				return
			}
			if !l.travel(v.there, v.rank, x) {
				return
			}
		}
		answer, err := l.exchange(x, raw, replies)
		if err != nil {
			return
		}
		if !handshake {
			if !l.travel(v.back, v.rank, nil) || v.loseReply {
				return
			}
		}
		if _, err := l.client.Write(answer); err != nil {
			return
		}
		if !handshake {
			l.proc.net.note(func(n *network) { n.delivered = append(n.delivered, x) })
		}
	}
}

// travel delays a request or a reply by d. It returns false when the connection is lost on the way.
func (l *link) travel(d time.Duration, rank uint64, x *exchange) bool {
	fire := make(chan bool, 1)
	l.proc.net.post(&event{at: time.Now().Add(d), rank: rank, proc: l.proc, fire: fire, x: x})
	return <-fire
}

// exchange sends the requests to Redis and returns the answers. Requests may block there.
func (l *link) exchange(x *exchange, raw []byte, r *bufio.Reader) ([]byte, error) {
	if text, ok := l.proc.net.timeline(x.requests); ok {
		x.answer.Store(&[]any{text})
		return fmt.Appendf(nil, "$%d\r\n%s\r\n", len(text), text), nil
	}
	if _, err := l.server.Write(raw); err != nil {
		return nil, err
	}
	var answer []byte
	var replies []any
	for range x.requests {
		var v any
		var err error
		if v, answer, err = readValue(r, answer); err != nil {
			return nil, err
		}
		replies = append(replies, v)
	}
	x.answer.Store(&replies)
	return answer, nil
}

// readPipeline reads one request and all others that are already buffered.
func readPipeline(r *bufio.Reader) (batch [][]string, raw []byte, err error) {
	for len(batch) == 0 || r.Buffered() > 0 {
		var v any
		if v, raw, err = readValue(r, raw); err != nil {
			return nil, nil, err
		}
		batch = append(batch, words(v))
	}
	return batch, raw, nil
}

func isHandshake(batch [][]string) bool {
	for _, req := range batch {
		if len(req) == 0 || !strings.EqualFold(req[0], "hello") && !strings.EqualFold(req[0], "client") {
			return false
		}
	}
	return true
}

// clientConn is the process's end of a link. Like a socket, it shows go-redis whether the connection is still open. Otherwise the
// pool would hand out connections that a restart of Redis has closed.
type clientConn struct {
	net.Conn
	link *link
}

func (c *clientConn) SyscallConn() (syscall.RawConn, error) {
	select {
	case <-c.link.gone:
		return nil, io.EOF
	default:
		return quiet{}, nil
	}
}

// Close implements [net.Conn].
func (c *clientConn) Close() error {
	c.link.closed.Store(true)
	return c.Conn.Close()
}

// quiet is a socket without data to read.
type quiet struct{}

func (quiet) Control(func(fd uintptr)) error    { return nil }
func (quiet) Read(func(fd uintptr) bool) error  { return nil }
func (quiet) Write(func(fd uintptr) bool) error { return nil }

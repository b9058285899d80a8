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

// exchange is one request, or one pipeline of requests, and what Redis answered.
type exchange struct {
	proc     *process
	requests [][]string
	survives bool // still arrives if its process dies now

	answer atomic.Pointer[[]any] // set by the link once Redis answered; nil while a request blocks there
	link   *link
}

// abandoned reports whether the process has closed the connection.
func (x *exchange) abandoned() bool { return x.link.closed.Load() }

// replies are Redis' answers, one per request, or nil while it has not answered.
func (x *exchange) replies() []any {
	if r := x.answer.Load(); r != nil {
		return *r
	}
	return nil
}

// link is one connection between a process and Redis. Requests and replies travel with a delay that is drawn from
// what they say, and may get lost.
type link struct {
	proc   *process
	client net.Conn // the far end of the pipe that the process holds
	server net.Conn
	once   sync.Once
	closed atomic.Bool   // the process closed its end
	gone   chan struct{} // closed by vanish
}

// vanish makes the link look cut to who is about to use it. Whoever waits on it does not see that yet.
func (l *link) vanish() { l.once.Do(func() { close(l.gone) }) }

// hangUp cuts the process's side. A request that is on its way still arrives.
func (l *link) hangUp() {
	l.vanish()
	_ = l.client.Close()
}

// reset cuts both sides.
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
		// The handshake of a connection is not worth a delay: which command needs a new connection depends on the
		// Go scheduler.
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

// travel takes d. It reports false when what travels is lost with its connection.
func (l *link) travel(d time.Duration, rank uint64, x *exchange) bool {
	fire := make(chan bool, 1)
	l.proc.net.post(&event{at: time.Now().Add(d), rank: rank, proc: l.proc, fire: fire, x: x})
	return <-fire
}

// exchange lets Redis execute the requests, which may block there.
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

// readPipeline reads one request and those that came with it.
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

// clientConn is the end that the process holds. It tells go-redis whether the connection is still there, as a socket
// would, so that a pool does not hand out connections that a restart of Redis has cut.
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

// quiet is a socket with nothing to read.
type quiet struct{}

func (quiet) Control(func(fd uintptr)) error    { return nil }
func (quiet) Read(func(fd uintptr) bool) error  { return nil }
func (quiet) Write(func(fd uintptr) bool) error { return nil }

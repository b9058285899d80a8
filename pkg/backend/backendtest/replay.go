package backendtest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// Reply is what the server sends on one connection, before it closes it.
type Reply struct {
	Bytes []byte // a whole HTTP response, as recorded
	// Cut sends only the first Cut bytes; 0 sends all.
	Cut int
	// Split sends that many bytes at a time, so that no event arrives in one piece. 0 sends all at once.
	Split int
}

// Request is a request that the server has read.
type Request struct {
	*http.Request        // its body is empty
	Content       []byte // the body
}

// Server replays recorded responses on a loopback port.
type Server struct {
	Addr string // host:port

	routes   map[string]Reply // by method and path; nil takes replies in turn
	mu       sync.Mutex
	replies  []Reply   // guarded by mu
	requests []Request // guarded by mu
}

// Replay starts a server that answers the n-th connection with the n-th reply, and further ones with the last. The
// server stops when the test ends.
func Replay(tb testing.TB, replies ...Reply) *Server {
	tb.Helper()
	return start(tb, &Server{replies: replies})
}

// ReplayRoutes starts a server that answers each request by its method and path, such as "GET /v1/models", and all
// others with 404. It stops when the test ends.
func ReplayRoutes(tb testing.TB, routes map[string]Reply) *Server {
	tb.Helper()
	return start(tb, &Server{routes: routes})
}

func start(tb testing.TB, s *Server) *Server {
	tb.Helper()
	listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s.Addr = listener.Addr().String()
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Go(func() { s.serve(conn) })
		}
	})
	tb.Cleanup(func() {
		listener.Close()
		connections.Wait()
	})
	return s
}

// Asked returns the requests so far of a method and path.
func (s *Server) Asked(route string) []Request {
	var out []Request
	for _, r := range s.Requests() {
		if r.Method+" "+r.URL.Path == route {
			out = append(out, r)
		}
	}
	return out
}

// Requests returns what was asked so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// serve answers one connection. Errors are the client's to see: it may hang up when it likes.
func (s *Server) serve(conn net.Conn) {
	defer conn.Close()
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	content, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	reply := s.take(Request{Request: req, Content: content})
	out := reply.Bytes
	if reply.Cut > 0 && reply.Cut < len(out) {
		out = out[:reply.Cut]
	}
	step := reply.Split
	if step <= 0 {
		step = len(out)
	}
	for len(out) > 0 {
		n, err := conn.Write(out[:min(step, len(out))])
		if err != nil {
			return
		}
		out = out[n:]
	}
}

func (s *Server) take(r Request) Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
	if s.routes != nil {
		if reply, ok := s.routes[r.Method+" "+r.URL.Path]; ok {
			return reply
		}
		return Reply{Bytes: []byte("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n{\"detail\":\"Not Found\"}")}
	}
	if len(s.replies) == 0 {
		return Reply{}
	}
	reply := s.replies[0]
	if len(s.replies) > 1 {
		s.replies = s.replies[1:]
	}
	return reply
}

package backendtest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// Reply is the server's output on one connection, before the server closes it.
type Reply struct {
	Bytes []byte // a whole recorded HTTP response
	// Cut sends only the first Cut bytes; 0 sends all.
	Cut int
	// Split sends that many bytes at a time, so that no event arrives in one piece. 0 sends all bytes at once.
	Split int
}

// Request is a request that the server has received.
type Request struct {
	*http.Request        // its body is empty
	Content       []byte // the body
}

// Server replays recorded responses on a loopback port.
type Server struct {
	Addr string // host:port

	routes   map[string]Reply // by method and path; if nil, replies are used in turn
	mu       sync.Mutex
	replies  []Reply   // guarded by mu
	requests []Request // guarded by mu
}

// Replay starts a server that answers the n-th connection with the n-th reply, and further connections with the last
// reply. The server stops at the end of the test.
func Replay(tb testing.TB, replies ...Reply) *Server {
	tb.Helper()
	return start(tb, &Server{replies: replies})
}

// ReplayRoutes starts a server that answers each request by its method and path, such as "GET /v1/models", and all
// others with 404. It stops at the end of the test.
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

// Asked returns the requests with a method and path so far.
func (s *Server) Asked(route string) []Request {
	var out []Request
	for _, r := range s.Requests() {
		if r.Method+" "+r.URL.Path == route {
			out = append(out, r)
		}
	}
	return out
}

// Requests returns all requests so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// serve answers one connection. It ignores errors: the client may hang up at any time.
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

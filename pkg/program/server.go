package program

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/sleep"
)

const (
	// startTime is how long a program may take to listen on its socket.
	startTime = 60 * time.Second
	// maxMessage limits one line from the program, in bytes.
	maxMessage = maxAnswer + 1<<20
	// socketVariable names the path of the Unix socket where a program with serve: true listens.
	socketVariable = "BATCHAGENT_SOCKET"
)

// ErrGone means that the program of a socket ended or hung up while a job ran. The job must start again.
var ErrGone = errors.New("the program that serves the job is gone")

// Server is a program that serves many jobs over a Unix socket, where the program listens. Each message is one line of JSON:
//
//	to the program     {"type":"job", "run":1, …}              a [Description]
//	                   {"type":"cancel", "run":1}              the answer is not wanted any more
//	from the program   {"type":"answer", "run":1, "output":…}  a text, or any other JSON value
//	                   {"type":"failed", "run":1, "message":"…"}
//
// A run is one attempt at a job. Two attempts at one job may overlap, when a worker loses a lease and gets the job again.
//
// Safe for concurrent use.
type Server struct {
	name   string
	socket string
	start  func(ctx context.Context, socket string) error // runs the process to its end; nil if it runs elsewhere

	mu      sync.Mutex
	conn    *connection // guarded by mu; nil while there is none
	starts  int         // of the process; belongs to the holder of opening
	closed  bool        // guarded by mu
	opening chan struct{}
	ctx     context.Context //nolint:containedctx // ends the process
	stop    context.CancelFunc
	running sync.WaitGroup
}

// NewServer returns the server of a program. start runs its process until ctx ends; nil means that somebody else runs it. The process
// starts with the first job, and again when it has ended. Each start gets a socket of its own, the path with a number: the one before
// may still accept connections.
func NewServer(name, socket string, start func(ctx context.Context, socket string) error) *Server {
	ctx, stop := context.WithCancel(context.Background())
	return &Server{name: name, socket: socket, start: start, opening: make(chan struct{}, 1), ctx: ctx, stop: stop}
}

// Close ends the process.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	if s.conn != nil {
		s.conn.end(ErrGone)
	}
	s.mu.Unlock()
	s.stop()
	s.running.Wait()
}

// Run runs one job. It returns [ErrGone] if the program ended before its answer.
func (s *Server) Run(ctx context.Context, j Description) (string, error) {
	c, err := s.open(ctx)
	if err != nil {
		return "", err
	}
	return c.run(ctx, j)
}

// open returns the connection, or makes a new one.
func (s *Server) open(ctx context.Context) (*connection, error) {
	select {
	case s.opening <- struct{}{}:
		defer func() { <-s.opening }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	s.mu.Lock()
	c, closed := s.conn, s.closed
	s.mu.Unlock()
	switch {
	case closed:
		return nil, ErrGone
	case c != nil && c.alive():
		return c, nil
	}
	return s.connect(ctx)
}

func (s *Server) connect(ctx context.Context) (*connection, error) {
	ended := make(chan error, 1)
	process, kill := context.WithCancel(s.ctx)
	socket := s.socket
	if s.start != nil {
		s.starts++
		socket = fmt.Sprintf("%s-%d", s.socket, s.starts)
		s.running.Go(func() { ended <- s.start(process, socket) })
	}
	deadline := time.Now().Add(startTime)
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err == nil {
			c := newConnection(conn, kill)
			s.running.Go(c.read)
			s.mu.Lock()
			s.conn = c
			s.mu.Unlock()
			return c, nil
		}
		select {
		case err := <-ended:
			kill()
			if failed, ok := errors.AsType[*batch.Error](err); ok {
				return nil, failed
			}
			return nil, batch.NewError(batch.ProgramFailed, fmt.Sprintf("%s ended before it listened on the socket in %s", s.name, socketVariable))
		default:
		}
		if time.Now().After(deadline) {
			kill()
			return nil, batch.NewError(batch.ProgramFailed, fmt.Sprintf("%s does not listen on the socket in %s", s.name, socketVariable))
		}
		if err := sleep.For(ctx, wait); err != nil {
			kill()
			return nil, context.Cause(ctx)
		}
	}
}

// connection is one connection to a program.
type connection struct {
	conn net.Conn
	kill context.CancelFunc // ends the process behind it

	mu   sync.Mutex
	last int                // guarded by mu; number of the last run
	runs map[int]chan reply // guarded by mu
	gone error              // guarded by mu; nil while the connection lives
}

type reply struct {
	Type    string          `json:"type"`
	Run     int             `json:"run"`
	Output  json.RawMessage `json:"output"`
	Message string          `json:"message"`
}

func newConnection(conn net.Conn, kill context.CancelFunc) *connection {
	return &connection{conn: conn, kill: kill, runs: map[int]chan reply{}}
}

func (c *connection) alive() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone == nil
}

// end ends the connection, its runs and the process behind it.
func (c *connection) end(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone != nil {
		return
	}
	c.gone = why
	_ = c.conn.Close()
	c.kill()
	for _, waiting := range c.runs {
		close(waiting)
	}
	c.runs = nil
}

// read passes replies to their runs until the connection ends.
func (c *connection) read() {
	lines := bufio.NewScanner(c.conn)
	lines.Buffer(nil, maxMessage)
	for lines.Scan() {
		var r reply
		if json.Unmarshal(lines.Bytes(), &r) != nil {
			break // what follows may belong to another message
		}
		c.mu.Lock()
		waiting := c.runs[r.Run]
		delete(c.runs, r.Run)
		c.mu.Unlock()
		if waiting != nil {
			waiting <- r // has room
		}
	}
	c.end(ErrGone)
}

func (c *connection) run(ctx context.Context, j Description) (string, error) {
	waiting := make(chan reply, 1)
	c.mu.Lock()
	if c.gone != nil {
		c.mu.Unlock()
		return "", ErrGone
	}
	c.last++
	run := c.last
	c.runs[run] = waiting
	c.mu.Unlock()
	if err := c.send(struct {
		Type string `json:"type"`
		Run  int    `json:"run"`
		Description
	}{"job", run, j}); err != nil {
		c.end(ErrGone)
		return "", ErrGone
	}
	select {
	case r, ok := <-waiting:
		if !ok {
			return "", ErrGone
		}
		return r.answer()
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.runs, run)
		c.mu.Unlock()
		_ = c.send(struct { // the connection may be gone
			Type string `json:"type"`
			Run  int    `json:"run"`
		}{"cancel", run})
		return "", context.Cause(ctx)
	}
}

// send writes one message. A program that does not read for too long is gone.
func (c *connection) send(message any) error {
	line, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encode a message to the program: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone != nil {
		return c.gone
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(startTime)) // a closed connection fails the write
	_, err = c.conn.Write(append(line, '\n'))
	return err
}

func (r reply) answer() (string, error) {
	if r.Type != "answer" {
		message := r.Message
		if message == "" {
			message = fmt.Sprintf("the program replied with a message of the type %.40q", r.Type)
		}
		return "", batch.NewError(batch.ProgramFailed, clip(message))
	}
	var text string
	if json.Unmarshal(r.Output, &text) == nil {
		return text, nil
	}
	return string(r.Output), nil
}

// clip limits a program's message.
func clip(text string) string {
	t := &tail{}
	_, _ = t.Write([]byte(text)) // never fails
	return string(t.kept[max(0, len(t.kept)-maxComplaint):])
}

package sim

import (
	"bufio"
	"fmt"
	"net"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// redisAddress is never resolved. A host name would start a resolver outside of the bubble.
const redisAddress = "10.0.0.1:6379"

// server is miniredis, with a private connection that has no faults and is not traced.
type server struct {
	mini   *miniredis.Miniredis
	began  time.Time
	skew   time.Duration // how far its clock is ahead of the bubble's
	memory memory
	conn   net.Conn
	r      *bufio.Reader
}

// newServer starts Redis in the current bubble. Its clock is skew ahead of the bubble's.
func newServer(skew time.Duration) (*server, error) {
	s := &server{mini: miniredis.NewMiniRedis(), began: time.Now(), skew: skew, memory: memory{texts: make(map[string]string)}}
	return s, s.begin(s.began)
}

// begin starts a new server and sets its clock.
func (s *server) begin(at time.Time) error {
	s.mini.SetTime(at.Add(s.skew))
	conn, err := s.mini.Dial() // starts it without a listener
	if err != nil {
		return fmt.Errorf("start miniredis: %w", err)
	}
	s.mini.ClockTTL(true)
	s.conn, s.r = conn, bufio.NewReaderSize(conn, 1<<16)
	return nil
}

// dial connects to the current server.
func (s *server) dial() (net.Conn, error) { return s.mini.Dial() }

// setClock advances Redis' clock to the current time. The clock is frozen between two commands.
func (s *server) setClock() { s.mini.SetTime(time.Now().Add(s.skew)) }

func (s *server) close() {
	_ = s.conn.Close()
	s.mini.Close()
}

// ask runs commands and returns their replies.
func (s *server) ask(commands ...[]string) ([]any, error) {
	var raw []byte
	for _, c := range commands {
		raw = append(raw, encode(c...)...)
	}
	return s.send(raw, len(commands))
}

// send sends n encoded commands and returns their replies.
func (s *server) send(raw []byte, n int) ([]any, error) {
	sent := make(chan error, 1)
	// A pipe has no buffer: Redis may answer the first command before it reads the second.
	go func() {
		_, err := s.conn.Write(raw)
		sent <- err
	}()
	out := make([]any, n)
	var err error
	for i := range out {
		if out[i], _, err = readValue(s.r, nil); err != nil {
			return nil, fmt.Errorf("inspect Redis: %w", err)
		}
	}
	return out, <-sent
}

// forgetScripts drops every script, like SCRIPT FLUSH, a restart or a failover.
func (s *server) forgetScripts() error {
	_, err := s.ask([]string{"SCRIPT", "FLUSH"})
	return err
}

// ttl returns the remaining life of a key; 0 if it does not expire.
func (s *server) ttl(key string) time.Duration { return s.mini.TTL(key) }

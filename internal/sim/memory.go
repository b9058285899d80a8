package sim

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// memory is the data on the disk of a Redis that restarts, or on its replica. It holds every command that may have changed
// something, in order, with its instant. An append-only file that is synced once a second (appendfsync everysec) misses only the
// end. So does a replica that takes over.
//
// The scripts depend only on their arguments, the data and the time. Repeating the commands at their instants therefore recreates
// the same data.
type memory struct {
	commands []remembered
	texts    map[string]string // scripts by SHA1; a restart drops them and their callers send them again
	lives    int               // number of times Redis was started
}

type remembered struct {
	at  time.Time // in the bubble's time
	raw []byte
}

// reads lists the commands and scripts that change nothing persistent.
var reads = []string{
	"at", "held", // scripts
	"config", "get", "hget", "hgetall", "hkeys", "hlen", "hmget", "info", "llen", "lrange", "ping", "pttl", "smembers", "time", "wait",
	"xlen", "xpending", "xrange", "xread", "xrevrange", "zrange", "zrevrange",
	"exec", "multi", // these enclose the reads of one state
	"script",
}

// remember records the commands that Redis executed.
func (m *memory) remember(x *exchange, calls []call) {
	for i, c := range calls {
		if c.ran && !slices.Contains(reads, c.verb) {
			m.commands = append(m.commands, remembered{time.Now(), encode(x.requests[i]...)})
		}
	}
}

// timeline answers INFO for the sections that identify one run of a server and that miniredis does not have. It returns false for
// every other request.
func (m *memory) timeline(requests [][]string) (text string, ok bool) {
	if len(requests) != 1 || len(requests[0]) != 2 || !strings.EqualFold(requests[0][0], "info") {
		return "", false
	}
	switch strings.ToLower(requests[0][1]) {
	case "server":
		return "# Server\r\nrun_id:" + strconv.Itoa(m.lives) + "\r\n", true
	case "replication":
		return "# Replication\r\nmaster_replid:of " + strconv.Itoa(m.lives) + "\r\n", true
	}
	return "", false
}

// restart starts Redis with its data of the given instant. No process may be connected.
func (s *server) restart(until time.Time) error {
	cut := slices.IndexFunc(s.memory.commands, func(c remembered) bool { return c.at.After(until) })
	s.memory.lives++
	if cut < 0 {
		return s.forgetScripts()
	}
	s.memory.commands = s.memory.commands[:cut]
	s.close()
	s.mini = miniredis.NewMiniRedis()
	if err := s.begin(s.began); err != nil {
		return err
	}
	for _, text := range s.memory.texts {
		if _, err := s.ask([]string{"SCRIPT", "LOAD", text}); err != nil {
			return err
		}
	}
	for _, c := range s.memory.commands {
		s.mini.SetTime(c.at.Add(s.skew))
		if _, err := s.send(c.raw, 1); err != nil {
			return err
		}
	}
	s.setClock()
	return s.forgetScripts()
}

package sim

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// memory is what a Redis would find on its disk when it starts again, or what its replica has: every command that may have
// changed something, in order, with its instant. A server that keeps an append-only file and writes it through once a second
// (appendfsync everysec), or one whose replica takes over, has all of it but the end.
//
// Its scripts depend on nothing but their arguments, the data and the time, so running the commands again at their instants
// makes the same data.
type memory struct {
	commands []remembered
	texts    map[string]string // scripts by SHA1, which a restart forgets and their callers send again
	lives    int               // how often Redis was started
}

type remembered struct {
	at  time.Time // of the bubble
	raw []byte
}

// reads are the commands and scripts that change nothing, or nothing that lasts.
var reads = []string{
	"at", "held", // scripts
	"config", "get", "hget", "hgetall", "hkeys", "hlen", "hmget", "info", "llen", "lrange", "ping", "pttl", "smembers", "time", "wait",
	"xlen", "xpending", "xrange", "xread", "xrevrange", "zrange", "zrevrange",
	"exec", "multi", // around the reads of one state
	"script",
}

// remember takes up what Redis executed.
func (m *memory) remember(x *exchange, calls []call) {
	for i, c := range calls {
		if c.ran && !slices.Contains(reads, c.verb) {
			m.commands = append(m.commands, remembered{time.Now(), encode(x.requests[i]...)})
		}
	}
}

// timeline answers INFO for the sections that miniredis lacks and that tell one run of a server from the next. It reports
// false for every other request.
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

// restart is a start of Redis that finds what there was until then, and nothing later. No process may be connected.
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

package shared_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/toolpool"
)

const (
	simSpan = time.Minute
	// settle is how long a process may stay unreachable after its cable was reconnected: its two clients dial once a second.
	settle = 4 * time.Second
)

// simCall is one call of an agent and its outcome.
type simCall struct {
	node, arg string
	came, got time.Time
	from      int // index of the execution
}

// simulation runs three processes on one server that call two keys of one tool, while replies are lost and cables are cut.
type simulation struct {
	w      *world
	seed   uint64
	rng    *rand.Rand // of the goroutine that sets up the run
	keys   int
	share  toolpool.Share
	ttl    time.Duration
	long   bool                      // cables are cut for longer than a lease
	notes  bool                      // notes are lost too
	faults map[string][][2]time.Time // spans of each node's long cuts
	cuts   map[string][][2]time.Time // spans of each node's short cuts
	cables map[string]*cable

	mu    sync.Mutex
	calls []*simCall
	bad   []string
}

// simulate runs one seed and returns the violations.
func simulate(t *testing.T, seed uint64, script func(name, text string) string) []string {
	var s *simulation
	synctest.Test(t, func(t *testing.T) {
		s = &simulation{seed: seed, w: bubble(t, script), rng: rand.New(rand.NewPCG(seed, 7)), faults: map[string][][2]time.Time{}, cuts: map[string][][2]time.Time{}, cables: map[string]*cable{}}
		s.share = []toolpool.Share{toolpool.Pure, toolpool.ForTTL, toolpool.Inflight}[seed%3]
		s.ttl = 3 * time.Second
		s.keys = 1 + int(seed/6%2)
		s.long, s.notes = seed%2 == 1, seed%4 != 0
		s.run()
	})
	s.check()
	return s.bad
}

func (s *simulation) run() {
	var nodes []*node
	for range 3 {
		n := s.w.with(s.tool)
		nodes, s.cables[n.name] = append(nodes, n), n.cable
	}
	began := time.Now()
	var all sync.WaitGroup
	for _, n := range nodes {
		for range 40 {
			c := &simCall{node: n.name, arg: fmt.Sprintf(`{"n":%d}`, s.rng.IntN(s.keys)), from: -1}
			at := s.span(simSpan)
			s.calls = append(s.calls, c)
			all.Go(func() {
				s.w.pass(at)
				c.came = time.Now()
				r, err := n.pool.Call(context.Background(), toolpool.Call{Name: "t", Arguments: c.arg, Timeout: time.Minute})
				c.got = time.Now()
				if i, e := strconv.Atoi(r.Content); err == nil && e == nil {
					c.from = i
				} else {
					s.fault("%s got %v, %v", c.node, r, err)
				}
			})
		}
		s.lose(&all, n)
		s.cut(&all, n, began)
	}
	all.Wait()
}

// lose drops single replies and notes at random.
func (s *simulation) lose(all *sync.WaitGroup, n *node) {
	for range 12 {
		from, what := s.span(simSpan), []string{"evalsha", "evalsha", "xadd", "xread", "inbox"}[s.rng.IntN(5)]
		if !s.notes && what != "evalsha" {
			continue
		}
		all.Go(func() {
			s.w.pass(from)
			if what == "inbox" {
				_ = s.w.raw.Del(context.Background(), "ba:inbox:{"+n.name+"}").Err()
			} else {
				n.line.LoseReply(what)
			}
		})
	}
}

func (s *simulation) cut(all *sync.WaitGroup, n *node, began time.Time) {
	at := time.Duration(0)
	if s.long { // the tool does it
		return
	}
	for range 3 {
		at += 5*time.Second + s.span(10*time.Second)
		d := 50*time.Millisecond + s.span(450*time.Millisecond)
		s.cuts[n.name] = append(s.cuts[n.name], [2]time.Time{began.Add(at), began.Add(at + d + settle)})
		from := at
		all.Go(func() {
			s.w.pass(from)
			n.cable.Cut()
			s.w.pass(d)
			n.cable.Mend()
		})
		at += d
	}
}

// cutLeader disconnects a process that has just started the tool, for longer than its lease, while the tool runs.
// Only one process at a time, so that the others stay connected.
func (s *simulation) cutLeader(node string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, spans := range s.faults {
		if within(spans, now, now) {
			return
		}
	}
	s.faults[node] = append(s.faults[node], [2]time.Time{now, now.Add(d + settle)})
	cable := s.cables[node]
	cable.Cut()
	time.AfterFunc(d, cable.Mend)
}

func (s *simulation) span(d time.Duration) time.Duration {
	return time.Duration(s.rng.Int64N(int64(d)))
}

// tool returns a tool that takes from 20 ms to four leases and returns the number of its execution.
func (s *simulation) tool(name *string) toolpool.Tool {
	return toolpool.Tool{
		Name: "t", Description: "test", Parameters: json.RawMessage(`{"type":"object"}`), Share: s.share, TTL: s.ttl,
		Run: func(_ context.Context, args json.RawMessage) (string, error) {
			e := s.w.begin(*name, string(args))
			number := e.number
			own := rand.New(rand.NewPCG(s.seed, uint64(number)))
			if s.long && own.IntN(3) == 0 {
				s.cutLeader(*name, s.w.lease+time.Duration(own.Int64N(int64(s.w.lease))))
			}
			s.w.pass([]time.Duration{20 * time.Millisecond, time.Second, 2 * s.w.lease, 4 * s.w.lease}[own.IntN(4)])
			s.w.over(e)
			return strconv.Itoa(number), nil
		},
	}
}

func (s *simulation) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bad = append(s.bad, fmt.Sprintf(format, args...))
}

// excused reports whether the process had a long cut during the span.
func (s *simulation) excused(node string, from, to time.Time) bool {
	return within(s.faults[node], from, to)
}

func within(spans [][2]time.Time, from, to time.Time) bool {
	for _, f := range spans {
		if from.Before(f[1]) && to.After(f[0]) {
			return true
		}
	}
	return false
}

// check compares the history with the contract.
func (s *simulation) check() {
	runs := s.w.runs
	for i, a := range runs {
		for _, b := range runs[i+1:] {
			if a.arg == b.arg && a.began.Before(b.ended) && b.began.Before(a.ended) &&
				!s.excused(a.node, a.began, a.ended) && !s.excused(b.node, b.began, b.ended) {
				s.fault("%s ran on %s and %s at once", a.arg, a.node, b.node)
			}
		}
	}
	byArg := map[string]int{}
	for _, r := range runs {
		byArg[r.arg]++
	}
	for arg, n := range byArg {
		if s.share == toolpool.Pure && !s.long && n > 1 {
			s.fault("%s, which is pure, ran %d times", arg, n)
		}
	}
	for _, c := range s.calls {
		if c.from < 0 {
			continue
		}
		e := runs[c.from]
		switch age := c.came.Sub(e.ended); {
		case e.arg != c.arg:
			s.fault("%s asked for %s and got %s", c.node, c.arg, e.arg)
		case s.share == toolpool.Inflight && age > 0:
			s.fault("%s came %s after the execution that it got the result of", c.node, age)
		case s.share == toolpool.ForTTL && age > s.ttl:
			s.fault("%s got a result that was %s old", c.node, age)
		}
		// An agent gets the execution that runs when it comes. Two exceptions: the last moment before that
		// execution's end, and a process that is cut off or has not yet seen the end of the previous execution.
		for i, running := range runs {
			if !s.long && !s.notes && running.arg == c.arg && running.began.Before(c.came) && running.ended.After(c.came.Add(500*time.Millisecond)) && i != c.from &&
				!within(s.cuts[c.node], c.came, running.ended) {
				s.fault("%s came at %s while execution %d ran on %s (%s to %s), and got %d of %s (%s to %s) at %s", c.node, at(c.came), i, running.node,
					at(running.began), at(running.ended), c.from, e.node, at(e.began), at(e.ended), at(c.got))
			}
		}
		if limit := 6*s.w.lease + 3*4*s.w.lease; c.got.Sub(c.came) > limit {
			s.fault("%s waited for %s", c.node, c.got.Sub(c.came))
		}
	}
}

// at formats a time of the bubble, which begins at midnight.
func at(t time.Time) string { return t.Format("04:05.000") }

const simSeeds = 60

func TestSimulation(t *testing.T) {
	t.Parallel()
	executions := 0
	for seed := range uint64(simSeeds) {
		if bad := simulate(t, seed, nil); len(bad) > 0 {
			t.Errorf("seed %d: %d violations, the first: %s", seed, len(bad), bad[0])
		}
		executions++
	}
	assert.Equal(t, simSeeds, executions)
}

// TestMutants breaks the scripts one by one. The simulation must detect each fault.
func TestMutants(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]struct{ script, old, new string }{
		"an end is not fenced":                   {"finish", "if lead ~= ARGV[1] then", "if false then"},
		"a lead that is held is taken":           {"join", "if not lead then", "if true then"},
		"a lead is not renewed":                  {"renew", "redis.call('PEXPIRE', KEYS[1], ARGV[2])", ""},
		"a renewal is not fenced":                {"renew", "if lead == ARGV[1] then", "if true then redis.call('SET', KEYS[1], ARGV[1])"},
		"outcomes are lost to waiting processes": {"finish", "if keep < short and #inboxes > 1 then", "if false then"},
		"the end's age is ignored":               {"finish", "t[1] * 1000000 + t[2] - ARGV[7]", "t[1] * 1000000 + t[2]"},
		"waiting processes do not ask again":     {"join", "local left = redis.call('PTTL', KEYS[1])", "local left = 3600000"},
		"a value never expires":                  {"finish", "'PX', keep)", "'PX', 3600000)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changed := false
			script := func(name, text string) string {
				if name != m.script {
					return text
				}
				require.Contains(t, text, m.old)
				changed = true
				return strings.Replace(text, m.old, m.new, 1)
			}
			for seed := range uint64(4 * simSeeds) {
				if bad := simulate(t, seed, script); len(bad) > 0 {
					require.True(t, changed)
					t.Logf("caught by seed %d: %s", seed, bad[0])
					return
				}
			}
			t.Errorf("the simulation did not detect the fault")
		})
	}
}

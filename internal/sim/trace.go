package sim

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/fnv"
	"strings"
	"time"
)

// trace records the commands of Redis in order, as lines for people and as a hash that compares two runs. A line is
//
//	<seconds>  <process>  <verb> <arguments> → <answer>
//
// A line that begins with "--" is a fault or another event of the run.
type trace struct {
	start   time.Time
	scripts map[string]string // SHA1 -> name
	lines   []string
	sum     hash.Hash64
}

func newTrace() *trace {
	return &trace{start: time.Now(), scripts: make(map[string]string), sum: fnv.New64a()}
}

// learn registers a script and returns its SHA1.
func (t *trace) learn(name, text string) (sum string) {
	hash := sha1.Sum([]byte(text)) // EVALSHA identifies scripts by it
	sum = hex.EncodeToString(hash[:])
	t.scripts[sum] = name
	return sum
}

func (t *trace) note(format string, args ...any) {
	t.add("--", fmt.Sprintf(format, args...))
}

func (t *trace) add(who, what string) {
	line := fmt.Sprintf("%13.9f  %-8s %s", time.Since(t.start).Seconds(), who, what)
	_, _ = t.sum.Write([]byte(line))
	t.lines = append(t.lines, line)
}

// exchange records an executed exchange.
func (t *trace) exchange(x *exchange, calls []call) {
	answered := x.replies() != nil
	for i, c := range calls {
		answer := "(waits)"
		if answered {
			answer = short(c.reply)
		}
		_, _ = fmt.Fprint(t.sum, uncreditedRequest(x.requests[i]), uncredited(fmt.Sprint(c.reply)))
		of := ""
		if c.batch() == reducerID {
			of = "(reducer) "
		}
		t.add(x.proc.name, c.verb+" "+of+c.summary()+" → "+answer)
	}
}

// call is one command in the form that the checks and the trace use.
type call struct {
	verb  string // a script's name, or a command in lower case
	keys  []string
	args  []string
	reply any
	ran   bool // Redis executed it
}

// calls splits an exchange into its commands.
func (t *trace) calls(x *exchange) []call {
	out, replies := make([]call, len(x.requests)), x.replies()
	for i, req := range x.requests {
		c := call{verb: strings.ToLower(req[0]), args: req[1:], ran: true}
		if replies != nil {
			c.reply = replies[i]
			_, failed := c.reply.(respError)
			c.ran = !failed
		}
		if (c.verb == "evalsha" || c.verb == "eval") && len(req) > 2 {
			sha := req[1]
			if c.verb == "eval" {
				sum := sha1.Sum([]byte(req[1]))
				sha = hex.EncodeToString(sum[:])
			}
			if name, ok := t.scripts[sha]; ok {
				c.verb = name
			}
			n := number(req[2])
			c.keys, c.args = req[3:3+n], req[3+n:]
		}
		out[i] = c
	}
	return out
}

func (c call) summary() string {
	switch c.verb {
	case "claim":
		return "count " + c.args[1]
	case "finish":
		var jobs []string
		for _, j := range c.completions() {
			jobs = append(jobs, fmt.Sprintf("job %s fence %s %s", j[0], j[2], j[3]))
		}
		return strings.Join(jobs, ", ")
	case "checkpoint":
		return fmt.Sprintf("job %s fence %s turn %s", c.args[0], c.args[1], c.args[2])
	case "renew":
		return fences(c.args[2:])
	case "release":
		return fences(c.args)
	case "feed":
		return fmt.Sprintf("from %s, %d jobs", c.args[0], len(c.args)-2)
	}
	return cut(uncredited(strings.Join(c.args, " ")), 120)
}

// completions returns the jobs of a finish, each with the columns of finish.lua: index, entry ID, fence, status, …
func (c call) completions() [][]string {
	const head, columns = 13, 7
	if len(c.args) < head {
		return nil
	}
	n := number(c.args[head-1])
	out := make([][]string, n)
	for i := range out {
		for column := range columns {
			out[i] = append(out[i], c.args[head+column*n+i])
		}
	}
	return out
}

func fences(args []string) string {
	var out []string
	for a := 0; a+2 < len(args); a += 3 {
		out = append(out, "job "+args[a]+" fence "+args[a+2])
	}
	return strings.Join(out, ", ")
}

func short(v any) string { return cut(uncredited(strings.ReplaceAll(fmt.Sprint(v), "\n", " ")), 160) }

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

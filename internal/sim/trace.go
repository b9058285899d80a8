package sim

import (
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
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
	args  []string // of a command that is no script
	named named
	data  []string // bytes that a script gets beside its named arguments
	reply any
	ran   bool // Redis executed it
}

// named are the named arguments of the store's scripts.
type named struct {
	Consumer            string
	Count, From         int
	Turn                []int
	Idle                bool
	Index, Entry, Fence column
	Status, Journal     column
	Ended               []struct {
		Index, Call string
		Usage       []int
	}
	Wanted []struct{ Index, Fence, Call string }
}

// column has one element per job. A script for one job gets a string.
type column []string

func (c *column) UnmarshalJSON(text []byte) error {
	if text[0] != '"' {
		return json.Unmarshal(text, (*[]string)(c))
	}
	*c = column{""}
	return json.Unmarshal(text, &(*c)[0])
}

// leaseArgument is a lease in the arguments of a script.
type leaseArgument struct {
	index int
	fence fence
}

// leases returns the leases in the arguments of a script.
func (c call) leases() []leaseArgument {
	out := make([]leaseArgument, len(c.named.Fence))
	for i, f := range c.named.Fence {
		out[i] = leaseArgument{number(c.named.Index[i]), parseFence(f)}
	}
	return out
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
			n := number(req[2])
			c.keys, c.args = req[3:3+n], req[3+n:]
			if name, ok := t.scripts[sha]; ok {
				c.verb, c.data = name, c.args[1:]
				if err := json.Unmarshal([]byte(c.args[0]), &c.named); err != nil {
					panic("the arguments of script " + name + " are not named: " + c.args[0])
				}
			}
		}
		out[i] = c
	}
	return out
}

func (c call) summary() string {
	switch c.verb {
	case "claim":
		return fmt.Sprint("count ", c.named.Count)
	case "feed":
		return fmt.Sprintf("from %d, %d jobs", c.named.From, len(c.data))
	case "finish", "checkpoint", "renew", "release":
		var jobs []string
		for i, l := range c.leases() {
			job := fmt.Sprintf("job %d fence %v", l.index, l.fence)
			if c.verb == "finish" {
				job += " " + c.named.Status[i]
			}
			if c.verb == "checkpoint" {
				job += fmt.Sprint(" turn ", c.named.Turn[i])
			}
			jobs = append(jobs, job)
		}
		return strings.Join(jobs, ", ")
	}
	return cut(uncredited(strings.Join(c.args, " ")), 120)
}

func short(v any) string { return cut(uncredited(strings.ReplaceAll(fmt.Sprint(v), "\n", " ")), 160) }

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

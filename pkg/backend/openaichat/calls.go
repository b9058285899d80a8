package openaichat

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/batchagent/batchagent/pkg/backend"
)

// callCost is what one tool call counts against the turn's bound, beside its text.
const callCost = 64

// callDelta is a piece of a tool call.
type callDelta struct {
	Index    *int   `json:"index"`
	ID       string `json:"id"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`

	extra extras // members that the protocol does not have
}

// UnmarshalJSON reads a piece and keeps the members that the protocol does not have.
func (d *callDelta) UnmarshalJSON(data []byte) error {
	type plain callDelta
	if err := json.Unmarshal(data, (*plain)(d)); err != nil {
		return err
	}
	d.extra = extrasOf(data)
	return nil
}

// callList puts a turn's tool calls together, and reports each once, as early as it is certain.
//
// A call is certain when its arguments are a JSON object or array that has closed, or, for any other JSON value, when
// the next call begins. Arguments that are not JSON are certain only when the turn has ended, since nothing may be run
// early on the strength of them. What was reported does not change: pieces that come after it (a parser may write one
// brace too many) are dropped, so that the call in the final message is the call that was run.
type callList struct {
	report func(index int, c backend.ToolCall) // nil skips
	calls  []*call
	quiet  bool // nothing is reported any more
}

type call struct {
	index   int // the server's
	hasID   bool
	id      string
	name    string
	args    []byte
	scan    valueScan
	settled bool
	extra   extras
}

// add takes a piece and returns how much it adds to the turn's size.
func (l *callList) add(d *callDelta) int {
	i := l.find(d)
	size := len(d.Function.Arguments)
	if i < 0 {
		l.settleWhole()
		i = len(l.calls)
		l.calls = append(l.calls, &call{})
		if d.Index != nil {
			l.calls[i].index = *d.Index
		}
		size += callCost
	}
	c := l.calls[i]
	size += c.extra.add(d.extra) // also of a settled call, because they do not change its arguments
	if c.settled {
		return size
	}
	if d.ID != "" && !c.hasID {
		c.id, c.hasID = d.ID, true
		size += len(d.ID)
	}
	if c.name == "" {
		c.name = d.Function.Name // servers that repeat it send the whole name each time
		size += len(c.name)
	}
	before := len(c.args)
	c.args = append(c.args, d.Function.Arguments...)
	if end := c.scan.feed(d.Function.Arguments); end >= 0 && c.name != "" && json.Valid(c.args[:before+end]) {
		c.args = c.args[:before+end]
		l.settle(i, c, true)
	}
	return size
}

// dispatched takes a whole call that came ahead of its deltas, which are then dropped.
func (l *callList) dispatched(d *callDelta) {
	if !l.quiet && d.Function.Name != "" && l.find(d) < 0 {
		l.add(d)
	}
}

// find returns the position of the call that a piece belongs to, or -1 if it begins one.
func (l *callList) find(d *callDelta) int {
	for i, c := range slices.Backward(l.calls) {
		if d.Index != nil && *d.Index != c.index {
			continue
		}
		if d.ID != "" && c.hasID && d.ID != c.id {
			return -1 // some servers number every call 0
		}
		return i
	}
	return -1
}

// settleWhole settles the calls whose arguments are JSON, because the next call begins.
func (l *callList) settleWhole() {
	for i, c := range l.calls {
		if !c.settled && c.name != "" && json.Valid(c.args) {
			l.settle(i, c, true)
		}
	}
}

// finish settles what is left and returns all calls. The left ones are reported only if the turn ended with calls.
func (l *callList) finish(report bool) []backend.ToolCall {
	if len(l.calls) == 0 {
		return nil
	}
	out := make([]backend.ToolCall, len(l.calls))
	for i, c := range l.calls {
		if !c.settled {
			l.settle(i, c, report)
		}
		out[i] = c.toolCall()
	}
	return out
}

func (l *callList) settle(i int, c *call, report bool) {
	c.settled = true
	c.id = l.freeID(i, c.id)
	if report && !l.quiet && l.report != nil {
		l.report(i, c.toolCall())
	}
}

// freeID returns an ID that no settled call has: id itself, if it can.
func (l *callList) freeID(i int, id string) string {
	if id == "" {
		id = "call_" + strconv.Itoa(i)
	}
	for _, other := range l.calls {
		if other.settled && other != l.calls[i] && other.id == id {
			return l.freeID(i, id+"_"+strconv.Itoa(i))
		}
	}
	return id
}

func (c *call) toolCall() backend.ToolCall {
	return backend.ToolCall{ID: c.id, Name: c.name, Arguments: string(c.args), Extra: c.extra.json()}
}

// valueScan finds the end of a JSON object or array that comes in pieces. It counts brackets only.
type valueScan struct {
	depth    int
	inString bool
	escaped  bool
	over     bool // the first value has closed, or the text is no object or array
}

// feed returns the position in piece just after the closing bracket, or -1.
func (s *valueScan) feed(piece string) int {
	if s.over {
		return -1
	}
	for i := range len(piece) {
		b := piece[i]
		switch {
		case s.escaped:
			s.escaped = false
		case s.inString:
			s.escaped = b == '\\'
			s.inString = b != '"'
		case b == '{' || b == '[':
			s.depth++
		case b == '}' || b == ']':
			if s.depth--; s.depth <= 0 {
				s.over = true
				return i + 1
			}
		case s.depth == 0 && !isSpace(b):
			s.over = true
			return -1
		case b == '"':
			s.inString = true
		}
	}
	return -1
}

// isObject reports whether arguments are a JSON object, as tools take them.
func isObject(args string) bool {
	return strings.HasPrefix(strings.TrimLeft(args, " \n\t\r"), "{") && json.Valid([]byte(args))
}

func isSpace(b byte) bool { return b == ' ' || b == '\n' || b == '\t' || b == '\r' }

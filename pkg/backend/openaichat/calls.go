package openaichat

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/batchagent/batchagent/pkg/backend"
)

// callCost is the cost of one tool call against the turn's limit, beside its text.
const callCost = 64

// callDelta is a piece of a tool call.
type callDelta struct {
	Index    *callIndex `json:"index"`
	ID       loose      `json:"id"`
	Function struct {
		Name      loose `json:"name"`
		Arguments loose `json:"arguments"` // a string, or the object itself
	} `json:"function"`

	extra extras // members outside of the protocol
}

// UnmarshalJSON decodes a piece and keeps the members outside of the protocol.
func (d *callDelta) UnmarshalJSON(data []byte) error {
	type plain callDelta
	if err := json.Unmarshal(data, (*plain)(d)); err != nil {
		return err
	}
	d.extra = extrasOf(data)
	return nil
}

// callList assembles a turn's tool calls, and reports each once, as soon as it is certain.
//
// A call is certain when its arguments are a closed JSON object or array. For any other JSON value it is certain when
// the next call begins. Arguments that are not JSON are certain only at the end of the turn, because nothing may run
// early on such arguments. A reported call does not change. Later pieces are dropped (a parser may send one brace too
// many), so that the final message contains the call that was run.
type callList struct {
	report  func(index int, c backend.ToolCall) // nil skips
	offered []string                            // names of the request's tools
	calls   []*toolCall
	quiet   bool // no further reports
}

type toolCall struct {
	index   int // the server's index
	hasID   bool
	id      string
	name    string
	args    []byte
	scan    valueScan
	settled bool
	guessed bool // it began without an ID at the index of another call
	extra   extras
}

// add handles a piece and returns its share of the turn's size.
func (l *callList) add(d *callDelta) int {
	i := l.find(d)
	args, name := string(d.Function.Arguments), string(d.Function.Name)
	size := len(args)
	if i >= 0 && l.repeats(i, d) {
		return size
	}
	guessed := i >= 0 && l.beginsAnother(i, d)
	if (i < 0 || guessed) && len(l.calls) > maxTurnCalls {
		return size // the turn is ended after this event
	}
	if i < 0 || guessed {
		l.settleWhole()
		i = len(l.calls)
		l.calls = append(l.calls, &toolCall{guessed: guessed})
		if d.Index != nil {
			l.calls[i].index = int(*d.Index)
		}
		size += callCost
	}
	c := l.calls[i]
	size += c.extra.add(d.extra) // also for a settled call, because members do not change its arguments
	if c.settled {
		return size
	}
	if d.ID != "" && !c.hasID {
		c.id, c.hasID = string(d.ID), true
		size += len(d.ID)
	}
	if len(c.args) == 0 && name != c.name {
		c.addName(name)
		size += len(name)
	}
	before := len(c.args)
	c.args = append(c.args, args...)
	if end := c.scan.feed(args); end >= 0 && c.name != "" && json.Valid(c.args[:before+end]) {
		c.args = c.args[:before+end]
		l.settle(i, c, true)
	}
	return size
}

// addName handles a piece of the name. Servers send it whole, repeat it, or send it in pieces.
func (c *toolCall) addName(piece string) {
	if strings.HasPrefix(piece, c.name) {
		c.name = piece
	} else {
		c.name += piece
	}
}

// beginsAnother reports whether a piece without an ID begins a new call at the index of call i: call i is settled, and
// the piece has a name.
func (l *callList) beginsAnother(i int, d *callDelta) bool {
	c := l.calls[i]
	args := strings.TrimSpace(string(d.Function.Arguments))
	return c.settled && d.ID == "" && d.Function.Name != "" && (args == "" || args[0] == '{')
}

// repeats reports whether a piece repeats the whole call i. Some servers do that with the finish reason.
func (l *callList) repeats(i int, d *callDelta) bool {
	c := l.calls[i]
	return c.settled && c.name == l.cleanName(string(d.Function.Name)) && string(d.Function.Arguments) == string(c.args)
}

// dispatched adds a whole call that came ahead of its deltas. The deltas are then dropped.
func (l *callList) dispatched(d *callDelta) {
	if !l.quiet && d.Function.Name != "" && l.find(d) < 0 {
		l.add(d)
	}
}

// find returns the index of the call that a piece belongs to, or -1 for a new call.
func (l *callList) find(d *callDelta) int {
	for i, c := range slices.Backward(l.calls) {
		if d.Index != nil && int(*d.Index) != c.index {
			continue
		}
		if d.ID != "" && c.hasID && string(d.ID) != c.id {
			return -1 // some servers number every call 0
		}
		return i
	}
	return -1
}

// whole reports whether the turn has calls and all are complete, so that they need no finish reason.
func (l *callList) whole() bool {
	for _, c := range l.calls {
		if c.name == "" || !c.settled && !isObject(string(c.args)) {
			return false
		}
	}
	return len(l.calls) > 0
}

// settleWhole settles the calls with valid JSON arguments, because the next call begins.
func (l *callList) settleWhole() {
	for i, c := range l.calls {
		if !c.settled && c.name != "" && json.Valid(c.args) {
			l.settle(i, c, true)
		}
	}
}

// finish settles the remaining calls and returns all. It reports the remaining calls only if report is true.
func (l *callList) finish(report bool) []backend.ToolCall {
	// A server may repeat the name of a complete call. That is not another call.
	if n := len(l.calls); n > 1 && l.calls[n-1].guessed && len(l.calls[n-1].args) == 0 && l.cleanName(l.calls[n-1].name) == l.calls[n-2].name {
		l.calls = l.calls[:n-1]
	}
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

func (l *callList) settle(i int, c *toolCall, report bool) {
	c.settled = true
	c.id = l.freeID(i, c.id)
	c.name = l.cleanName(c.name)
	c.args = unquoted([]byte(joined(string(c.args))))
	if report && !l.quiet && l.report != nil {
		l.report(i, c.toolCall())
	}
}

// cleanName removes text that some models and parsers add to a tool's name, unless a tool has that name.
func (l *callList) cleanName(name string) string {
	if slices.Contains(l.offered, name) {
		return name
	}
	short, _, _ := strings.Cut(name, "<|") // the mark of a channel
	short = strings.TrimSpace(strings.TrimPrefix(short, "functions."))
	if slices.Contains(l.offered, short) {
		return short
	}
	return name
}

// unquoted decodes arguments that were encoded twice.
func unquoted(args []byte) []byte {
	if len(args) < 2 || args[0] != '"' || !json.Valid(args) {
		return args
	}
	if inner := plain(bytes.TrimSpace(args)); isObject(inner) {
		return []byte(inner)
	}
	return args
}

// freeID returns an ID that no settled call has: id itself if possible.
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

func (c *toolCall) toolCall() backend.ToolCall {
	return backend.ToolCall{ID: c.id, Name: c.name, Arguments: string(c.args), Extra: c.extra.json()}
}

// valueScan finds the end of a JSON object or array that arrives in pieces. It counts brackets only.
type valueScan struct {
	depth    int
	inString bool
	escaped  bool
	over     bool // the first value has closed, or the text is not an object or array
}

// feed returns the position in piece just after the closing bracket, or -1.
func (s *valueScan) feed(piece string) int { return feed(s, piece) }

// feedBytes is feed for bytes.
func (s *valueScan) feedBytes(piece []byte) int { return feed(s, piece) }

func feed[T string | []byte](s *valueScan, piece T) int {
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

// isObject reports whether arguments are a JSON object, as tools require.
func isObject(args string) bool {
	return strings.HasPrefix(strings.TrimLeft(args, " \n\t\r"), "{") && json.Valid([]byte(args))
}

func isSpace(b byte) bool { return b == ' ' || b == '\n' || b == '\t' || b == '\r' }

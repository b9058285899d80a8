package blocks

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
)

const (
	// maxTurnBytes bounds what one turn may say, text, reasoning and tool input together.
	maxTurnBytes = 8 << 20
	// maxTurnCalls bounds the tool calls of one turn. An agent runs 32 of them.
	maxTurnCalls = 1_000
	// callCost is what one tool call counts against maxTurnBytes, beside its input.
	callCost = 64
)

// Turn puts one stream together. Tool calls are reported when their block ends with whole JSON, in the middle of the
// stream; a call whose input is not JSON is reported only by End, and only if the turn ended with calls.
type Turn struct {
	observer backend.Observer
	protocol backend.Protocol
	start    time.Time
	ttft     time.Duration
	text     strings.Builder
	thoughts []*thought
	calls    []*call
	open     map[int]*call // by the server's block index
	size     int
}

type call struct {
	id, name string
	input    strings.Builder
	reported bool
}

// NewTurn starts a turn of a protocol. The request is sent now.
func NewTurn(p backend.Protocol, o backend.Observer) *Turn {
	return &Turn{observer: o, protocol: p, start: time.Now(), open: map[int]*call{}}
}

// Text takes a piece of the answer.
func (t *Turn) Text(s string) error {
	t.text.WriteString(s)
	return t.grow(len(s), s != "")
}

// StartCall begins a tool call at a block index. input is what came with the start, usually nothing.
func (t *Turn) StartCall(block int, id, name, input string) error {
	c := &call{id: t.freeID(id), name: name}
	c.input.WriteString(input)
	t.calls = append(t.calls, c)
	t.open[block] = c
	return t.grow(callCost+len(id)+len(name)+len(input), true)
}

// Input takes a piece of a tool call's input. A piece for a block that is no tool call is dropped.
func (t *Turn) Input(block int, s string) error {
	if c := t.open[block]; c != nil {
		c.input.WriteString(s)
	}
	return t.grow(len(s), s != "")
}

// EndBlock ends a block. A tool call without input was called without arguments.
func (t *Turn) EndBlock(block int) {
	c := t.open[block]
	if c == nil {
		return
	}
	delete(t.open, block)
	if c.input.Len() == 0 {
		c.input.WriteString("{}")
	}
	if c.name != "" && json.Valid([]byte(c.input.String())) {
		t.report(c)
	}
}

// HasCalls reports whether a tool call has begun.
func (t *Turn) HasCalls() bool { return len(t.calls) > 0 }

// End closes the turn for a reason.
func (t *Turn) End(reason backend.FinishReason, model string, u backend.Usage) *backend.Response {
	switch {
	case reason == backend.FinishStop && len(t.calls) > 0:
		reason = backend.FinishToolCalls
	case reason == backend.FinishToolCalls && len(t.calls) == 0:
		reason = backend.FinishStop // a parser may announce calls that it then withholds
	}
	r := &backend.Response{
		Message: backend.Message{Role: backend.RoleAssistant, Content: t.text.String(), Reasoning: t.reasoning()},
		Finish:  reason,
		Usage:   u,
		Model:   model,
		TTFT:    t.ttft,
	}
	for _, c := range t.calls {
		if reason == backend.FinishToolCalls {
			t.report(c)
		}
		r.Message.ToolCalls = append(r.Message.ToolCalls, c.toolCall())
	}
	r.Duration = time.Since(t.start)
	return r
}

// grow counts what came, and ends a turn that has no end.
func (t *Turn) grow(n int, content bool) error {
	if content && t.ttft == 0 {
		t.ttft = max(time.Since(t.start), 1)
		if t.observer.FirstToken != nil {
			t.observer.FirstToken()
		}
	}
	why := ""
	switch t.size += n; {
	case len(t.calls) > maxTurnCalls:
		why = fmt.Sprintf("the turn makes more than %d tool calls", maxTurnCalls)
	case t.size > maxTurnBytes:
		why = fmt.Sprintf("the turn is longer than %d bytes", maxTurnBytes)
	default:
		return nil
	}
	return &backend.Error{Class: backend.Degenerate, Status: http.StatusOK,
		Message: why, Partial: endpoint.Partial(t.text.String())}
}

func (t *Turn) report(c *call) {
	if c.reported {
		return
	}
	c.reported = true
	if t.observer.ToolCall == nil {
		return
	}
	for i := range t.calls {
		if t.calls[i] == c {
			t.observer.ToolCall(i, c.toolCall())
		}
	}
}

// freeID returns an ID that no other call of the turn has: id itself, if it can.
func (t *Turn) freeID(id string) string {
	n := strconv.Itoa(len(t.calls))
	if id == "" {
		id = "call_" + n
	}
	for _, c := range t.calls {
		if c.id == id {
			return t.freeID(id + "_" + n)
		}
	}
	return id
}

func (c *call) toolCall() backend.ToolCall {
	return backend.ToolCall{ID: c.id, Name: c.name, Arguments: c.input.String()}
}

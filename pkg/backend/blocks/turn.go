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
	// maxTurnBytes limits the text, reasoning and tool input of one turn together.
	maxTurnBytes = 8 << 20
	// maxTurnCalls limits the tool calls of one turn. An agent runs 32 of them.
	maxTurnCalls = 1_000
	// callCost is the cost of one tool call against maxTurnBytes, beside its input.
	callCost = 64
)

// Turn assembles one stream. It reports a tool call when its block ends with valid JSON, in the middle of the stream. A
// call with invalid input is reported only by End, and only if the turn ended with calls.
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
	silent   bool // no further reasoning is reported in pieces
}

type call struct {
	id, name string
	input    strings.Builder
	reported bool
}

// NewTurn starts a turn of a protocol. Call it when the request is sent: times count from now.
func NewTurn(p backend.Protocol, o backend.Observer) *Turn {
	return &Turn{observer: o, protocol: p, start: time.Now(), open: map[int]*call{}}
}

// Text adds a piece of the answer.
func (t *Turn) Text(s string) error {
	t.text.WriteString(s)
	if err := t.grow(len(s), s != ""); err != nil {
		return err
	}
	if s != "" {
		t.endThought()
		if t.observer.Text != nil {
			t.observer.Text(s)
		}
	}
	return nil
}

// StartCall begins a tool call at a block index. input arrived with the start and is usually empty.
func (t *Turn) StartCall(block int, id, name, input string) error {
	t.endThought()
	c := &call{id: t.freeID(id), name: name}
	c.input.WriteString(input)
	t.calls = append(t.calls, c)
	t.open[block] = c
	return t.grow(callCost+len(id)+len(name)+len(input), true)
}

// Input adds a piece of a tool call's input. It drops a piece for a block that is no tool call.
func (t *Turn) Input(block int, s string) error {
	if c := t.open[block]; c != nil {
		c.input.WriteString(s)
	}
	return t.grow(len(s), s != "")
}

// EndBlock ends a block. Empty input of a tool call becomes an empty object.
func (t *Turn) EndBlock(block int) {
	if n := len(t.thoughts); n > 0 && t.thoughts[n-1].block == block {
		t.endThought()
	}
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

// End completes the turn with a finish reason.
func (t *Turn) End(reason backend.FinishReason, model string, u backend.Usage) *backend.Response {
	switch {
	case reason == backend.FinishStop && len(t.calls) > 0:
		reason = backend.FinishToolCalls
	case reason == backend.FinishToolCalls && len(t.calls) == 0:
		reason = backend.FinishStop // a parser may announce calls and then withhold them
	}
	t.endThought()
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

// grow counts the bytes of a piece, and returns an error for an endless turn.
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

// freeID returns an ID that is unique in the turn: id itself if possible.
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

package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/kaptinlin/jsonrepair"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

const (
	maxCalls    = 32 // tool calls of one turn
	maxParallel = 16 // of them at a time
)

// calls runs the tool calls of one turn. Those without side effects start while the model's stream still runs; what
// was started for a turn that fails is cancelled. It is used by one goroutine, and owns those that run the calls.
type calls struct {
	parent  context.Context
	tools   Tools
	program *Program

	ctx     context.Context
	cancel  context.CancelFunc
	started map[int]*pendingCall
	places  chan struct{}
	running sync.WaitGroup
}

type pendingCall struct {
	call   backend.ToolCall
	result toolpool.Result
	err    error
	done   chan struct{}
}

func newCalls(ctx context.Context, t Tools, p *Program) *calls {
	c := &calls{parent: ctx, tools: t, program: p}
	c.begin()
	return c
}

// begin prepares for a model call.
func (c *calls) begin() {
	c.ctx, c.cancel = context.WithCancel(c.parent)
	c.started = make(map[int]*pendingCall)
	c.places = make(chan struct{}, maxParallel)
}

// abandon cancels what was started and waits for its end; the next model call starts with nothing.
func (c *calls) abandon() {
	c.end()
	c.begin()
}

// end cancels what was started and waits for it.
func (c *calls) end() {
	c.cancel()
	c.running.Wait()
}

// early starts a call that is complete in the stream, unless it has side effects: the turn may still fail.
func (c *calls) early(index int, call backend.ToolCall) {
	if index < maxCalls && !c.program.effect[call.Name] && len(c.program.tools) > 0 {
		c.start(index, call)
	}
}

func (c *calls) start(index int, call backend.ToolCall) *pendingCall {
	p := &pendingCall{call: call, done: make(chan struct{})}
	c.started[index] = p
	ctx, places := c.ctx, c.places
	c.running.Go(func() {
		defer close(p.done)
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		case <-ctx.Done():
			p.err = context.Cause(ctx)
			return
		}
		p.result, p.err = c.tools.Call(ctx, toolpool.Call{
			Name: call.Name, Arguments: call.Arguments, Timeout: c.program.plan.Timeouts.Tool,
		})
	})
	return p
}

// finish runs what is left of the turn's calls and returns their results, in the order of the calls.
func (c *calls) finish(asked []backend.ToolCall) ([]backend.Message, batch.ToolCounts, error) {
	counts := batch.ToolCounts{Asked: int64(len(asked))}
	pending := make([]*pendingCall, len(asked))
	for i, call := range asked {
		if i >= maxCalls {
			break
		}
		p := c.started[i]
		if p == nil || p.call.Name != call.Name || p.call.Arguments != call.Arguments {
			p = c.start(i, call)
		}
		pending[i] = p
	}
	out := make([]backend.Message, len(asked))
	for i, call := range asked {
		out[i] = backend.Message{Role: backend.RoleTool, ToolCallID: call.ID}
		p := pending[i]
		if p == nil {
			out[i].Content = fmt.Sprintf("This call was not made: a turn may ask for at most %d.", maxCalls)
			continue
		}
		<-p.done
		if p.err != nil {
			return nil, counts, p.err
		}
		out[i].Content = strings.ToValidUTF8(p.result.Content, "\uFFFD")
		if p.result.Executed {
			counts.Executed++
		}
	}
	return out, counts, nil
}

// sendable makes arguments that the model wrote fit for the conversation: some servers refuse a history whose
// arguments are not a JSON object. The tool's result tells the model what was wrong.
func sendable(arguments string) string {
	arguments = strings.ToValidUTF8(arguments, "\uFFFD")
	if isObject(arguments) {
		return arguments
	}
	if repaired, err := jsonrepair.Repair(arguments); err == nil && isObject(repaired) {
		return repaired
	}
	return "{}"
}

func isObject(s string) bool {
	return json.Valid([]byte(s)) && strings.HasPrefix(strings.TrimSpace(s), "{")
}

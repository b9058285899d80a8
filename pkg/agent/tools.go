package agent

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

const (
	maxCalls    = 32 // calls of one turn that run
	maxParallel = 16 // calls of one turn that run at once
)

// toolTurn waits for the turn's tool calls and journals the turn.
func (a *attempt) toolTurn(s *scope, t nextTurn, resp *backend.Response, run *toolRun, usage batch.Usage) error {
	defer run.discard()
	if err := a.move(batch.AskTools); err != nil {
		return err
	}
	calls := repairCalls(t.number, resp.Message.ToolCalls)
	if err := a.open(s, t, resp, calls); err != nil {
		return err
	}
	turn := Turn{
		Assistant: backend.Message{Role: backend.RoleAssistant, Content: resp.Message.Content, Reasoning: resp.Message.Reasoning},
		Usage:     usage,
		Counts:    batch.ToolCounts{Asked: int64(len(calls))},
		Model:     resp.Model,
	}
	began := time.Now()
	results := run.finish(calls)
	if run.lastRan {
		since(began, &a.spent.tools)
	} else {
		since(began, &a.spent.toolsShared)
	}
	for i, result := range results {
		if result.Executed {
			turn.Counts.Executed++
		}
		turn.Assistant.ToolCalls = append(turn.Assistant.ToolCalls, calls[i].history)
		turn.Sources = append(turn.Sources, CallSource{From: result.Source, By: result.By})
		turn.Tools = append(turn.Tools, backend.Message{Role: backend.RoleTool, ToolCallID: calls[i].history.ID, Content: result.Content})
	}
	if err := s.over(); err != nil {
		return err // the results are those of cancelled calls
	}
	if run.failed != nil {
		return a.effectFailure(s, run.failed)
	}
	if err := a.checkpoint(s, t, turn); err != nil {
		return err
	}
	a.counts.Add(turn.Counts)
	return a.move(batch.ToolsDone)
}

// toolRun runs the tool calls of one model call, some of them while the model still writes. It belongs to the agent's
// goroutine. Each call has its own goroutine, and all have ended when finish or discard returns.
type toolRun struct {
	ctx     context.Context
	cancel  context.CancelFunc
	tools   Tools
	def     *Definition
	turn    nextTurn
	effects toolpool.EffectLog // the effect log; nil without one
	failed  error              // the first error of the effect log; set by finish
	lastRan bool               // the call that ended last was executed for this job; set by finish
	permits chan struct{}
	running sync.WaitGroup
	started map[int]*startedCall
}

type startedCall struct {
	call   backend.ToolCall
	cancel context.CancelFunc
	done   chan struct{}
	result toolpool.Result // set before done is closed
	err    error           // set before done is closed, if there is no result
	ended  time.Time       // set before done is closed
}

func (a *attempt) newToolRun(s *scope, t nextTurn) *toolRun {
	ctx, cancel := context.WithCancel(s.work)
	r := &toolRun{ctx: ctx, cancel: cancel, tools: a.session.Tools, def: a.def, turn: t, permits: make(chan struct{}, maxParallel), started: map[int]*startedCall{}}
	if a.session.Effects != nil {
		r.effects = a.session.Effects
	}
	return r
}

// early starts a call that the model has just written, although the turn may still fail. It skips calls with a problem,
// and calls of tools with side effects; these wait until the turn is complete.
func (r *toolRun) early(index int, c backend.ToolCall) {
	call, offered := r.def.calls[c.Name]
	if !offered || call.Share == toolpool.Effect || index < 0 || index >= maxCalls || r.started[index] != nil {
		return
	}
	if args, problem := repairArguments(c.Arguments); problem == "" {
		c.Arguments = args
		r.start(index, c)
	}
}

// finish starts the remaining calls and returns all results, in order. If the context ends, the results are meaningless.
func (r *toolRun) finish(calls []repairedCall) []toolpool.Result {
	results := make([]toolpool.Result, len(calls))
	for i, c := range calls {
		problem := c.problem
		switch _, offered := r.def.calls[c.history.Name]; {
		case !offered:
			problem = r.notOffered(c.history.Name)
		case i >= maxCalls:
			problem = fmt.Sprintf("this call was not run: one turn runs at most %d calls. Ask again in your next turn.", maxCalls)
		}
		if problem != "" {
			results[i] = toolpool.Result{Content: "Error: " + problem, Failed: true}
			continue
		}
		if s := r.started[i]; s != nil && s.call.Name == c.history.Name && s.call.Arguments == c.history.Arguments {
			continue
		} else if s != nil {
			s.cancel() // the call at the end of the stream differs, and replaces the early one
		}
		r.start(i, c.history)
	}
	var last time.Time
	for i := range calls {
		if results[i].Content != "" {
			continue
		}
		s := r.started[i]
		<-s.done
		results[i] = s.result
		if s.ended.After(last) {
			last, r.lastRan = s.ended, s.result.Executed
		}
		if r.failed == nil {
			r.failed = s.err
		}
	}
	r.discard()
	return results
}

// discard cancels all running calls and waits for their end. It may be called more than once.
func (r *toolRun) discard() {
	r.cancel()
	r.running.Wait()
}

func (r *toolRun) start(index int, c backend.ToolCall) {
	ctx, cancel := context.WithCancel(r.ctx)
	s := &startedCall{call: c, cancel: cancel, done: make(chan struct{})}
	r.started[index] = s
	r.running.Go(func() {
		defer close(s.done)
		defer func() { s.ended = time.Now() }()
		defer cancel()
		select {
		case r.permits <- struct{}{}:
			defer func() { <-r.permits }()
		case <-ctx.Done():
			s.result = failedResult(context.Cause(ctx).Error())
			return
		}
		call := r.def.calls[c.Name]
		call.Arguments, call.TurnsRemaining = c.Arguments, r.turn.remaining
		call.EffectLog, call.Turn, call.Index = r.effects, r.turn.number, index
		result, err := r.tools.Call(ctx, call)
		switch {
		case err != nil:
			s.err = err
			result = failedResult(err.Error())
		case result.Content == "":
			result.Content = "(no output)" // servers drop an empty tool message
		}
		s.result = result
	})
}

func failedResult(text string) toolpool.Result {
	return toolpool.Result{Content: "Error: " + text, Failed: true}
}

func (r *toolRun) notOffered(name string) string {
	names := make([]string, len(r.def.tools))
	for i, t := range r.def.tools {
		names[i] = t.Name
	}
	return fmt.Sprintf("there is no tool %.80q. Available tools: %s.", name, strings.Join(names, ", "))
}

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// Call makes one model call of the program, or answers it from the journal. It waits for a slot, and retries, as calls of our
// own agent do. An error is a *[backend.Error] for the program, or the reason why the program ends. o sees the answer as it
// arrives; of an answer from the journal it sees nothing but the first token.
func (c *ProgramCalls) Call(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	s, done, err := c.begin()
	if err != nil {
		return nil, err
	}
	defer done()
	key, err := requestKey(r)
	if err != nil {
		return nil, &backend.Error{Class: backend.InvalidRequest, Message: err.Error()}
	}
	if t, ok := c.replayed(key); ok {
		first(o)
		return t.response(), nil
	}
	number, err := c.next()
	if err != nil {
		c.abort(err)
		return nil, err
	}
	defer c.answered()
	one, end := s.during(ctx)
	defer end()
	stream := &passed{to: o}
	resp, err := c.generate(one, r, number, stream)
	if err != nil {
		return nil, c.fault(ctx, s, err)
	}
	if err := c.record(s, callTurn(key, resp)); err != nil {
		return nil, err
	}
	if !stream.fits(resp) {
		c.abort(errBrokeOff)
		return nil, errBrokeOff
	}
	return resp, nil
}

// next counts a call that goes to the server until the caller calls answered. It returns the job's error if no further call is allowed.
func (c *ProgramCalls) next() (number int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.attempt
	if err := a.withinBudget(); err != nil {
		return 0, err
	}
	if a.turns+c.asking >= a.def.maxTurns {
		return 0, batch.NewError(batch.TurnsExhausted,
			fmt.Sprintf("the program has made max_turns = %d model calls; raise max_turns", a.def.maxTurns))
	}
	c.asking++
	c.number++
	c.journal.miss()
	return c.number, nil
}

// answered is called when a call's answer is in the journal, or has failed.
func (c *ProgramCalls) answered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asking--
}

// generate makes a model call for the program, with its own retries.
func (c *ProgramCalls) generate(s *scope, r *backend.Request, number int, stream *passed) (*backend.Response, error) {
	a := c.attempt
	req := *r
	req.ID, req.Model = fmt.Sprintf("%s#%d", a.job.ID, number), a.def.model
	req.Sampling = withDefaults(req.Sampling, a.def.sampling)
	talk, release := c.talks.find(r.Messages)
	defer release()
	req.Hints = backend.Hints{Priority: a.def.priority, Session: talk}
	one := &attempt{
		Runner: a.Runner, def: a.def, job: a.job, session: a.session, log: a.log, state: batch.Running, part: true, watch: stream.observer(),
	}
	one.session.Effects = nil
	resp, calls, err := one.call(s, nextTurn{number: number, remaining: 1}, &req)
	failed, _ := errors.AsType[*batch.Error](err)
	c.mu.Lock()
	a.spent.add(one.spent)
	if s.work.Err() == nil { // else the program gave up, or the attempt is over
		c.failed = failed
	}
	c.mu.Unlock()
	switch {
	case failed != nil && one.refusal != nil:
		return nil, one.refusal
	case err != nil:
		return nil, err
	}
	calls.discard()
	resp.Message.Reasoning = resp.Message.Reasoning.Bounded(maxReasoning)
	return resp, nil
}

// CountTokens counts the tokens of a request's prompt at the model server. It waits for no slot and is no turn. [errors.ErrUnsupported]: the
// server counts none.
func (c *ProgramCalls) CountTokens(ctx context.Context, r *backend.Request) (int, error) {
	s, done, err := c.begin()
	if err != nil {
		return 0, err
	}
	defer done()
	a := c.attempt
	if a.counter == nil {
		return 0, fmt.Errorf("the model server counts no tokens: %w", errors.ErrUnsupported)
	}
	one, end := s.during(ctx)
	defer end()
	within, cancel := context.WithTimeoutCause(one.work, countTimeout, errCountTimeout)
	defer cancel()
	req := *r
	req.ID, req.Model = fmt.Sprintf("%s#count", a.job.ID), a.def.model
	return a.counter.CountTokens(within, &req)
}

// withDefaults returns the sampling of a program's request, with the values of the spec where it has none.
func withDefaults(own, from backend.Sampling) backend.Sampling {
	if own.Temperature == nil {
		own.Temperature = from.Temperature
	}
	if own.TopP == nil {
		own.TopP = from.TopP
	}
	if own.Seed == nil {
		own.Seed = from.Seed
	}
	if own.MaxTokens == 0 {
		own.MaxTokens = from.MaxTokens
	}
	if own.Stop == nil {
		own.Stop = from.Stop
	}
	if len(from.ExtraBody) > 0 {
		all := maps.Clone(from.ExtraBody)
		maps.Copy(all, own.ExtraBody)
		own.ExtraBody = all
	}
	return own
}

// fault returns the error of a failed call for the program. If the attempt cannot continue, it ends the program. s is the scope of the
// run: that of the call has ended, too, if the program gave up.
func (c *ProgramCalls) fault(ctx context.Context, s *scope, err error) error {
	if ctx.Err() != nil && s.over() == nil {
		return context.Cause(ctx) // the program gave up
	}
	if _, ok := err.(*backend.Error); ok {
		return err
	}
	c.abort(err)
	return err
}

// CallTool runs a tool call of the program, or answers it from the journal. arguments is a JSON object. An error is the reason
// why the program ends.
func (c *ProgramCalls) CallTool(ctx context.Context, name string, arguments json.RawMessage) (toolpool.Result, error) {
	s, done, err := c.begin()
	if err != nil {
		return toolpool.Result{}, err
	}
	defer done()
	call, offered := c.attempt.def.calls[name]
	if !offered {
		run := &toolRun{def: c.attempt.def}
		return failedResult(run.notOffered(name)), nil
	}
	text, problem := repairArguments(string(arguments))
	if problem != "" {
		return failedResult(problem), nil
	}
	key := toolKey(name, text)
	if t, ok := c.replayed(key); ok {
		return t.result(), nil
	}
	one, end := s.during(ctx)
	defer end()
	call.Arguments, call.TurnsRemaining = text, 1
	call.Turn, call.Index = c.place(key)
	if c.attempt.session.Effects != nil {
		call.EffectLog = c.attempt.session.Effects
	}
	began := time.Now()
	result, err := c.attempt.session.Tools.Call(one.work, call)
	if err != nil {
		return toolpool.Result{}, c.toolFault(ctx, s, err)
	}
	if result.Content == "" {
		result.Content = "(no output)"
	}
	c.timed(time.Since(began), result.Executed)
	if err := c.record(s, toolTurn(key, name, call.Index, result)); err != nil {
		return toolpool.Result{}, err
	}
	return result, nil
}

func (c *ProgramCalls) timed(took time.Duration, executed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if executed {
		c.attempt.spent.tools += took
	} else {
		c.attempt.spent.toolsShared += took
	}
}

// toolFault returns the error of a tool call that has no result.
func (c *ProgramCalls) toolFault(ctx context.Context, s *scope, err error) error {
	if ctx.Err() != nil && s.over() == nil {
		return context.Cause(ctx)
	}
	err = c.attempt.effectFailure(s, err)
	c.abort(err)
	return err
}

// during returns the scope for one call, which also ends with ctx.
func (s *scope) during(ctx context.Context) (*scope, func()) {
	one := *s
	var cancelWork, cancelPause context.CancelCauseFunc
	one.work, cancelWork = context.WithCancelCause(s.work)
	one.pause, cancelPause = context.WithCancelCause(s.pause)
	cancel := func() {
		cancelWork(context.Cause(ctx))
		cancelPause(context.Cause(ctx))
	}
	if ctx.Err() != nil {
		cancel()
	}
	stop := context.AfterFunc(ctx, cancel)
	return &one, func() {
		stop()
		cancelPause(nil)
		cancelWork(nil)
	}
}

// passed passes the pieces of an answer on to the program. If the call is repeated after a piece was passed on, the pieces of the
// second answer are held back: they can follow only if that answer begins with the same text. It belongs to the call's goroutine.
type passed struct {
	to              backend.Observer
	began           bool // the program knows that an answer has begun
	text, reasoning strings.Builder
	whole           bool // a tool call or a block of reasoning was passed on
	again           bool // a second answer has begun
}

// observer returns the observer of all tries.
func (p *passed) observer() backend.Observer {
	return backend.Observer{
		FirstToken: func() {
			if p.again = p.began; !p.again {
				p.began = true
				first(p.to)
			}
		},
		Text: func(piece string) {
			if !p.again && p.to.Text != nil {
				p.text.WriteString(piece)
				p.to.Text(piece)
			}
		},
		Reasoning: func(piece string) {
			if !p.again && p.to.Reasoning != nil {
				p.reasoning.WriteString(piece)
				p.to.Reasoning(piece)
			}
		},
		ReasoningBlock: func(protocol backend.Protocol, b backend.ReasoningBlock) {
			if !p.again && p.to.ReasoningBlock != nil {
				p.whole = true
				p.to.ReasoningBlock(protocol, b)
			}
		},
		ToolCall: func(index int, call backend.ToolCall) {
			if !p.again && p.to.ToolCall != nil {
				p.whole = true
				p.to.ToolCall(index, call)
			}
		},
	}
}

// fits reports whether the answer continues what the program has read of it.
func (p *passed) fits(r *backend.Response) bool {
	return !p.again || !p.whole && strings.HasPrefix(r.Message.Content, p.text.String()) && strings.HasPrefix(r.Message.ReasoningText(), p.reasoning.String())
}

func first(o backend.Observer) {
	if o.FirstToken != nil {
		o.FirstToken()
	}
}

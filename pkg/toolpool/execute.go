package toolpool

import (
	"context"
	"encoding/json"
	"errors"
	"runtime/debug"
	"strings"
	"time"
)

// grace is how long a tool may take to return after its context has ended.
const grace = time.Second

// errBroke stands for a tool that panicked or ended its goroutine.
var errBroke = errors.New("the tool broke down")

// execute runs the tool once. ctx carries the timeout; timeout is for the message only.
func (p *Pool) execute(ctx context.Context, e *entry, args json.RawMessage, timeout time.Duration) outcome {
	p.mu.Lock()
	e.stats.Executed++
	p.mu.Unlock()
	began := time.Now()
	defer func() {
		p.mu.Lock()
		e.stats.Seconds += time.Since(began).Seconds()
		p.mu.Unlock()
	}()

	type returned struct {
		content string
		err     error
	}
	done := make(chan returned, 1)
	go func() {
		r := returned{err: errBroke} // stays if Run panics or calls runtime.Goexit
		defer func() {
			if v := recover(); v != nil {
				p.logPanic(ctx, e.tool.Name, v)
			}
			done <- r
		}()
		content, err := e.tool.Run(ctx, args)
		r = returned{content, err}
	}()

	var r returned
	select {
	case r = <-done:
	case <-ctx.Done():
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case r = <-done:
		case <-timer.C:
			p.log.ErrorContext(ctx, "tool did not return after its context ended; it is left behind", "tool", e.tool.Name)
			return timedOut(e, timeout)
		}
	}
	switch {
	case r.err == nil:
		return outcome{content: present(r.content, e.tool.MaxBytes)}
	case errors.Is(r.err, errBroke):
		return failure("%s broke down on this call. Try other arguments, or go on without it.", e.tool.Name)
	case ctx.Err() != nil:
		return timedOut(e, timeout)
	default:
		return outcome{content: present("Error: "+r.err.Error(), e.tool.MaxBytes), failed: true}
	}
}

func timedOut(e *entry, timeout time.Duration) outcome {
	return failure("%s gave no answer within %s and was stopped.", e.tool.Name, timeout)
}

func (p *Pool) logPanic(ctx context.Context, tool string, v any) {
	p.log.ErrorContext(ctx, "tool panicked", "tool", tool, "panic", v, "stack", string(debug.Stack()))
}

// present makes a tool's text fit for a conversation: valid UTF-8, so that it survives a journal byte for byte; not
// empty, because servers drop an empty tool message; and no longer than limit bytes.
func present(text string, limit int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if strings.TrimSpace(text) == "" {
		return "(no output)"
	}
	return cut(text, limit)
}

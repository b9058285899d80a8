package toolpool

import (
	"context"
	"errors"
	"runtime/debug"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/sleep"
)

const (
	// grace is the time that a tool has to return after its context has ended.
	grace = time.Second
	// maxTries limits the executions of one call whose failures are transient.
	maxTries = 3
)

// errBroke is the error of a tool that panicked or called runtime.Goexit.
var errBroke = errors.New("the tool broke down")

// work runs the tool within its limits, retries transient failures, and returns the outcome. Waits for the limits do
// not count against the tool's time. work ends early when ctx does.
func (p *Pool) work(ctx context.Context, f *flight, r *request) outcome {
	left := r.timeout
	for try := 1; ; try++ {
		release, err := p.enter(ctx, f, r)
		if err != nil {
			return failure("%s was stopped.", r.tool.Name)
		}
		p.begin(f)
		began := time.Now()
		out := p.execute(ctx, r, left)
		release()
		left -= time.Since(began)

		wait := max(out.after, backoff(try))
		if !out.transient || r.share == Effect || try == maxTries || wait >= left || ctx.Err() != nil {
			return out
		}
		p.count(r.entry, func(s *Stats) { s.Retried++ })
		if sleep.For(ctx, wait) != nil {
			return out
		}
		left -= wait
	}
}

// execute runs the tool once, for at most limit.
func (p *Pool) execute(ctx context.Context, r *request, limit time.Duration) outcome {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	p.count(r.entry, func(s *Stats) { s.Executed++ })
	began := time.Now()
	defer func() {
		took := time.Since(began)
		p.count(r.entry, func(s *Stats) { s.Finished, s.Seconds = s.Finished+1, s.Seconds+took.Seconds() })
		r.entry.latency.add(took)
	}()

	type returned struct {
		content string
		err     error
	}
	done := make(chan returned, 1)
	go func() {
		got := returned{err: errBroke} // remains if Run panics or calls runtime.Goexit
		defer func() {
			if v := recover(); v != nil {
				p.logPanic(ctx, r.tool.Name, v)
			}
			done <- got
		}()
		content, err := r.tool.Run(ctx, r.args)
		got = returned{content, err}
	}()

	var got returned
	select {
	case got = <-done:
	case <-ctx.Done():
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case got = <-done:
		case <-timer.C:
			p.log.ErrorContext(ctx, "tool did not return after its context ended; it is left behind", "tool", r.tool.Name)
			return r.timedOut()
		}
	}
	switch {
	case got.err == nil:
		return outcome{content: present(got.content, r.tool.MaxBytes)}
	case errors.Is(got.err, errBroke):
		return r.unknown(failure("%s broke down on this call. Try other arguments, or go on without it.", r.tool.Name))
	case ctx.Err() != nil:
		return r.timedOut()
	default:
		after, transient := isTransient(got.err)
		out := outcome{content: present("Error: "+got.err.Error(), r.tool.MaxBytes), failed: true, transient: transient, after: after}
		if _, unanswered := errors.AsType[*unansweredError](got.err); unanswered {
			return r.unknown(out)
		}
		return out
	}
}

func (r *request) timedOut() outcome { return r.unknown(timedOut(r.tool.Name, r.timeout)) }

// unknown adds to the outcome of a call with side effects that they may have happened.
func (r *request) unknown(out outcome) outcome {
	if r.share == Effect {
		out.content += " It may or may not have done what was asked: look before you ask again."
	}
	return out
}

func timedOut(tool string, timeout time.Duration) outcome {
	return failure("%s gave no answer within %s and was stopped.", tool, timeout)
}

func (p *Pool) logPanic(ctx context.Context, tool string, v any) {
	p.log.ErrorContext(ctx, "tool panicked", "tool", tool, "panic", v, "stack", string(debug.Stack()))
}

// present makes a tool's text fit for a conversation. The text becomes valid UTF-8, so that a journal stores it byte
// for byte. Each stretch of binary data becomes one mark. Empty text gets a placeholder, because servers drop an
// empty tool message. Text over limit bytes is cut.
func present(text string, limit int) string {
	text = markBinary(strings.ToValidUTF8(text, "\uFFFD"))
	if strings.TrimSpace(text) == "" {
		return "(no output)"
	}
	return cut(text, limit)
}

// markBinary replaces each stretch of control characters by one mark. A program that prints binary data prints many
// of them, and each costs a token or more.
func markBinary(text string) string {
	var out strings.Builder
	kept := 0 // the bytes of text that are in out or replaced
	for i := 0; i < len(text); i++ {
		if !isBinary(text[i]) {
			continue
		}
		out.WriteString(text[kept:i])
		out.WriteString("\uFFFD")
		for i+1 < len(text) && isBinary(text[i+1]) {
			i++
		}
		kept = i + 1
	}
	if kept == 0 {
		return text
	}
	out.WriteString(text[kept:])
	return out.String()
}

func isBinary(c byte) bool {
	switch c {
	case '\t', '\n', '\v', '\f', '\r', '\x1b':
		return false
	}
	return c < ' ' || c == '\x7f'
}

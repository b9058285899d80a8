package toolpool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/toolpool/schema"
)

// Call runs one tool call, or returns the result of an equal call. The tool's Share decides which results may be reused.
//
// Call returns an error that wraps context.Cause(ctx) when ctx is done. For a tool with side effects it also returns
// the errors of the effect log and [*UnknownEffectError]. Every other failure is a Result whose content describes the failure
// to the model. When one caller's ctx ends, other callers of the same execution keep waiting.
func (p *Pool) Call(ctx context.Context, c Call) (Result, error) {
	if ctx.Err() != nil {
		return Result{}, callError(ctx, c.Name)
	}
	p.mu.Lock()
	e, ok := p.tools[c.Name]
	if ok {
		e.stats.Asked++
	}
	p.mu.Unlock()
	if !ok {
		return Result{Content: p.unknownTool(c.Name), Failed: true}, nil
	}
	out, executed, err := p.answer(ctx, e, c)
	if err != nil {
		return Result{}, err
	}
	if out.failed {
		p.count(e, func(s *Stats) { s.Failed++ })
	}
	content := cutTokens(out.content, least(e.tool.MaxTokens, c.MaxTokens))
	return Result{Content: content, Failed: out.failed, Executed: executed, Source: out.source, By: out.by}, nil
}

// request is a call with checked arguments.
type request struct {
	call    Call
	entry   *entry
	tool    *Tool
	args    json.RawMessage // canonical
	extra   string          // added to the key by Tool.Key
	key     key
	share   Share
	ttl     time.Duration
	timeout time.Duration
	rank    int // the lowest runs first
}

// outcome is the outcome of a call or of an execution.
type outcome struct {
	content   string
	failed    bool
	transient bool          // a retry may succeed
	after     time.Duration // wait before the retry
	source    Source        // set for a call only
	by        string        // see [Result]
}

func failure(format string, args ...any) outcome {
	return outcome{content: cut("Error: "+fmt.Sprintf(format, args...), defaultMaxBytes), failed: true}
}

func (p *Pool) answer(ctx context.Context, e *entry, c Call) (out outcome, executed bool, err error) {
	args, problem := e.readArguments(ctx, c.Arguments)
	if ctx.Err() != nil {
		return outcome{}, false, callError(ctx, c.Name)
	}
	if problem != "" {
		return failure("%s", problem), false, nil
	}
	r := &request{call: c, entry: e, tool: &e.tool, args: args, timeout: e.timeout(c), rank: c.TurnsRemaining}
	if r.rank <= 0 {
		r.rank = math.MaxInt
	}
	if r.share, r.ttl, err = Narrow(e.tool, c.Share, c.TTL); err != nil {
		p.log.DebugContext(ctx, "a call asks for more sharing than its tool allows", "error", err)
	}
	if r.share == Effect {
		return p.effect(ctx, r)
	}
	if r.extra, err = p.extraKey(ctx, e, args, r.timeout); err != nil {
		if ctx.Err() != nil {
			return outcome{}, false, callError(ctx, c.Name)
		}
		return failure("%s: %v", e.tool.Name, err), false, nil
	}
	// The window is part of the key: a batch with narrower sharing neither reads nor provides older results.
	r.key = keyOf(e.tool.Name, e.tool.Version, r.extra, string(r.share), r.ttl.String(), string(args))
	return p.share(ctx, r)
}

// readArguments returns the arguments in canonical form, or a message for the model. Run gets exactly the bytes that
// were checked and that are part of the sharing key.
func (e *entry) readArguments(ctx context.Context, written string) (args json.RawMessage, problem string) {
	if strings.TrimSpace(written) == "" {
		written = "{}" // many models write nothing for a call without arguments
	}
	doc, err := schema.Decode([]byte(written))
	if err != nil {
		return nil, fmt.Sprintf("the arguments of %s are %v. Write them as one JSON object.", e.tool.Name, err)
	}
	if _, ok := doc.(map[string]any); !ok {
		return nil, fmt.Sprintf("the arguments of %s must be one JSON object.", e.tool.Name)
	}
	err = e.args.CheckWithin(ctx, doc)
	switch {
	case err != nil && !schema.IsMismatch(err):
		return nil, fmt.Sprintf("the arguments of %s cannot be checked: %v.", e.tool.Name, err)
	case err != nil:
		return nil, fmt.Sprintf("the arguments of %s do not fit its parameters: %v.", e.tool.Name, err)
	}
	args, err = canonical(doc)
	if err != nil {
		return nil, fmt.Sprintf("the arguments of %s cannot be used: %v.", e.tool.Name, err)
	}
	return args, ""
}

func (e *entry) timeout(c Call) time.Duration {
	switch {
	case e.tool.Timeout > 0:
		return e.tool.Timeout
	case c.Timeout > 0:
		return c.Timeout
	default:
		return defaultTimeout
	}
}

// extraKey returns the key of Tool.Key, or "" if the tool has none. A panic in Key becomes an error.
func (p *Pool) extraKey(ctx context.Context, e *entry, args json.RawMessage, timeout time.Duration) (extra string, err error) {
	if e.tool.Key == nil {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			p.logPanic(ctx, e.tool.Name, r)
			err = errors.New("the tool broke down")
		}
	}()
	return e.tool.Key(ctx, args)
}

func (p *Pool) unknownTool(name string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.tools) == 0 {
		return fmt.Sprintf("Error: there is no tool %.80q. No tools are available.", name)
	}
	return cut(fmt.Sprintf("Error: there is no tool %.80q. Available tools: %s.", name,
		strings.Join(slices.Sorted(maps.Keys(p.tools)), ", ")), defaultMaxBytes)
}

func callError(ctx context.Context, name string) error {
	return fmt.Errorf("call tool %s: %w", name, context.Cause(ctx))
}

// ended returns callError if ctx is done, and otherwise nil.
func (r *request) ended(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return callError(ctx, r.tool.Name)
}

// least returns the smaller of two limits; 0 means no limit.
func least(a, b int) int {
	if a <= 0 || b > 0 && b < a {
		return b
	}
	return a
}

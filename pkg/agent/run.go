package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// Config changes how a runner works.
type Config struct {
	Worker string         // the worker's name in results
	Logger *slog.Logger   // Defaults to none.
	Jitter func() float64 // numbers in [0,1) for backoff. Defaults to a random source.
}

// Runner runs agents. It is safe for concurrent use.
type Runner struct {
	model Model
	slots Slots
	tools Tools
	cfg   Config
}

// NewRunner makes a runner.
func NewRunner(m Model, s Slots, t Tools, cfg Config) *Runner {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Jitter == nil {
		cfg.Jitter = rand.Float64
	}
	return &Runner{model: m, slots: s, tools: t, cfg: cfg}
}

// errJobTimeout is the cause with which a job's own time limit ends its context.
var errJobTimeout = errors.New("the job's time limit passed")

// Run runs one attempt at a job to its end. A job that fails has a result with an error in it. A Go error means that
// there is no result and nothing more may be written: ErrStopped at a turn boundary after Job.Stop was closed, or one
// that wraps context.Cause(ctx), or what Job.Append returned.
func (r *Runner) Run(ctx context.Context, p *Program, j Job) (batch.Result, error) {
	a := &run{Runner: r, program: p, job: j, state: batch.Preflight, began: time.Now()}
	jobCtx := ctx
	if limit := p.plan.Timeouts.Job; limit > 0 {
		var cancel context.CancelFunc
		jobCtx, cancel = context.WithTimeoutCause(ctx, limit, errJobTimeout)
		defer cancel()
	}
	err := a.loop(jobCtx)
	if err == nil {
		return a.result, nil
	}
	if failed, ok := errors.AsType[*batch.Error](err); ok {
		return a.end(batch.Fail, nil, failed)
	}
	if errors.Is(context.Cause(jobCtx), errJobTimeout) && ctx.Err() == nil {
		return a.end(batch.Fail, nil, batch.NewError(batch.Timeout,
			fmt.Sprintf("the job did not end within %s (timeouts.job)", p.plan.Timeouts.Job)))
	}
	if ctx.Err() != nil {
		return batch.Result{}, fmt.Errorf("run %s: %w", j.ID, context.Cause(ctx))
	}
	return batch.Result{}, fmt.Errorf("run %s: %w", j.ID, err)
}

// run is one attempt while it lasts. It is used by one goroutine.
type run struct {
	*Runner
	program *Program
	job     Job
	state   batch.State
	began   time.Time
	talk    *conversation
	result  batch.Result
	// plain asks for answers without an enforced format: the model ran away under it.
	plain bool
}

// loop goes from turn to turn. A *batch.Error ends the job as failed; nil means that a.result is set.
func (a *run) loop(ctx context.Context) error {
	if err := a.preflight(ctx); err != nil {
		return err
	}
	if err := a.move(batch.Ready); err != nil {
		return err
	}
	for {
		if a.stopped() {
			return ErrStopped
		}
		done, err := a.turn(ctx)
		if done || err != nil {
			return err
		}
	}
}

// preflight renders the prompt, rebuilds the conversation, and refuses what cannot fit.
func (a *run) preflight(ctx context.Context) error {
	a.talk = &conversation{model: a.program.model.ID}
	var payload spec.Payload
	if err := json.Unmarshal(a.job.Payload, &payload); err != nil {
		return batch.NewError(batch.BadInput, "the job's input cannot be read: "+err.Error())
	}
	if payload.Bad != "" {
		return batch.NewError(batch.BadInput, payload.Bad)
	}
	prompt, err := a.program.plan.Prompt(payload.Input)
	if err != nil {
		return batch.NewError(batch.BadInput, err.Error())
	}
	a.talk = newConversation(a.program, prompt)
	if err := a.talk.replay(a.job.Journal); err != nil {
		return err
	}
	if a.talk.turns == 0 {
		return a.checkFits(ctx)
	}
	return nil
}

// checkFits asks the server for the prompt's length, but only if it may be too long: no text has more tokens than
// bytes.
func (a *run) checkFits(ctx context.Context) error {
	counter, ok := a.model.(backend.TokenCounter)
	window := a.program.model.MaxModelLen
	if !ok || window == 0 {
		return nil
	}
	req := a.request(false)
	size := 0
	for _, m := range req.Messages {
		size += len(m.Content) + 16
	}
	for _, t := range req.Tools {
		size += len(t.Description) + len(t.Parameters) + 64
	}
	if size < window {
		return nil
	}
	n, err := counter.CountTokens(ctx, req)
	if err != nil {
		// The server will say so itself if the prompt is too long.
		a.cfg.Logger.Debug("could not count the prompt's tokens", "job", a.job.ID, "error", err)
		return nil
	}
	if n >= window {
		return batch.NewError(batch.Oversized, fmt.Sprintf("the prompt has %d tokens, the model's context only %d", n, window))
	}
	return nil
}

// turn makes one model call and does what it asks for. done says that a.result is set.
func (a *run) turn(ctx context.Context) (done bool, err error) {
	mayCall := len(a.program.tools) > 0 && a.talk.turns+1 < a.program.plan.MaxTurns && !a.talk.repaired
	calls := newCalls(ctx, a.tools, a.program)
	defer calls.end()
	resp, err := a.generate(ctx, mayCall, calls)
	if err != nil {
		return false, err
	}
	t := Turn{Assistant: clean(resp.Message), Model: resp.Model, Usage: batch.Usage{
		PromptTokens: resp.Usage.PromptTokens, CachedTokens: max(resp.Usage.CachedTokens, 0), CompletionTokens: resp.Usage.CompletionTokens,
	}}
	switch {
	case resp.Finish == backend.FinishLength:
		return a.truncated(t)
	case resp.Finish == backend.FinishRefused:
		a.talk.count(t)
		return false, batch.NewError(batch.BackendRejected, "the server's content filter refused the answer")
	case len(t.Assistant.ToolCalls) > 0 && mayCall:
		return false, a.callTools(ctx, t, calls)
	case len(t.Assistant.ToolCalls) > 0 && !a.talk.repaired:
		a.talk.count(t)
		return false, batch.NewError(batch.TurnsExhausted,
			fmt.Sprintf("the model still asked for tools after %d turns (max_turns)", a.talk.turns))
	default:
		return a.answer(ctx, t)
	}
}

// truncated ends a job whose turn was cut by max_tokens. Its tool calls are never run. An answer that was complete
// before the cut still counts.
func (a *run) truncated(t Turn) (bool, error) {
	a.talk.count(t)
	if len(t.Assistant.ToolCalls) == 0 && a.program.schema != nil {
		if out, err := extractStrict(t.Assistant.Content, a.program.schema); err == nil {
			return true, a.succeed(out)
		}
	}
	e := batch.NewError(batch.OutputTruncated, "the answer was cut by the token limit; raise sampling.max_tokens or ask for less")
	e.Raw = cut(t.Assistant.Content)
	return false, e
}

// callTools waits for the turn's tool calls and checkpoints the turn.
func (a *run) callTools(ctx context.Context, t Turn, calls *calls) error {
	if err := a.move(batch.AskTools); err != nil {
		return err
	}
	var err error
	if t.Tools, t.Counts, err = calls.finish(t.Assistant.ToolCalls); err != nil {
		return err
	}
	for i, c := range t.Assistant.ToolCalls {
		t.Assistant.ToolCalls[i].Arguments = sendable(c.Arguments)
	}
	if err := a.checkpoint(ctx, t); err != nil {
		return err
	}
	return a.move(batch.ToolsDone)
}

// answer ends the job if the answer matches the schema, and asks once for a better one if it does not.
func (a *run) answer(ctx context.Context, t Turn) (done bool, err error) {
	text := t.Assistant.Content
	if a.program.schema == nil {
		a.talk.count(t)
		if strings.TrimSpace(answerPart(text)) == "" {
			return false, batch.NewError(batch.OutputInvalid, "the model's answer is empty")
		}
		out, err := json.Marshal(map[string]string{"text": answerPart(text)})
		if err != nil {
			return false, err
		}
		return true, a.succeed(out)
	}
	out, err := extract(text, a.program.schema)
	if err == nil {
		a.talk.count(t)
		return true, a.succeed(out)
	}
	if a.talk.repaired {
		a.talk.count(t)
		e := batch.NewError(batch.OutputInvalid, "the answer does not match the output schema: "+err.Error())
		e.Raw = cut(text)
		return false, e
	}
	t.Assistant.ToolCalls = nil
	t.Repair = "Your answer does not match the JSON Schema: " + err.Error() +
		".\nAnswer again with one JSON value that matches the schema, and with nothing else."
	if t.Assistant.Content == "" {
		t.Assistant.Content = "(no answer)" // servers refuse an empty message
	}
	return false, a.checkpoint(ctx, t)
}

func (a *run) succeed(output json.RawMessage) error {
	_, err := a.end(batch.Succeed, output, nil)
	return err
}

// end makes the result.
func (a *run) end(e batch.Event, output json.RawMessage, failed *batch.Error) (batch.Result, error) {
	if err := a.move(e); err != nil {
		return batch.Result{}, err
	}
	status := batch.OK
	if failed != nil {
		status = batch.StatusFailed
	}
	a.result = batch.Result{
		Batch: a.job.ID.Batch, JobID: batch.JobID(a.job.ID.Index), Index: a.job.ID.Index,
		Status: status, Output: output, Error: failed,
		Attempts: a.job.Attempt, Turns: a.talk.turns, Usage: a.talk.usage, Tools: a.talk.counts,
		Model: a.talk.model, Worker: a.cfg.Worker, WallMS: time.Since(a.began).Milliseconds(),
	}
	return a.result, nil
}

// checkpoint writes the turn to the journal, and only then makes it part of the conversation.
func (a *run) checkpoint(ctx context.Context, t Turn) error {
	data, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("encode turn %d: %w", a.talk.turns+1, err)
	}
	if err := a.job.Append(ctx, a.talk.turns+1, data); err != nil {
		return err
	}
	a.talk.add(t)
	return nil
}

// move follows the job's state machine and tells who listens.
func (a *run) move(e batch.Event) error {
	next, err := batch.Next(a.state, e)
	if err != nil {
		return err
	}
	from := a.state
	a.state = next
	if a.job.OnState != nil {
		a.job.OnState(from, next)
	}
	return nil
}

func (a *run) stopped() bool {
	select {
	case <-a.job.Stop:
		return true
	default:
		return false
	}
}

// clean makes the message one that survives JSON: what goes into the journal must be what the server sees.
func clean(m backend.Message) backend.Message {
	m.Role = backend.RoleAssistant
	m.Content = strings.ToValidUTF8(m.Content, "\uFFFD")
	return m
}

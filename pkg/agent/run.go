package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// maxRaw limits the model's text in an error, in bytes.
const maxRaw = 16 << 10

// Config configures a runner.
type Config struct {
	Worker string       // the worker's --id, shown in results
	Logger *slog.Logger // Defaults to none.
	// Jitter replaces the random source of waits, numbers in [0,1), so that a run can be replayed. Nil uses math/rand.
	Jitter func() float64
	// Endpoint distinguishes outages from bad requests. With nil, every failure counts against its job.
	Endpoint Endpoint
	// Counter counts the tokens of long prompts before they are sent. With nil, the server refuses prompts that are too long.
	Counter backend.TokenCounter
}

// Runner runs jobs. Safe for concurrent use; it has no state between jobs.
type Runner struct {
	worker   string
	log      *slog.Logger
	random   func() float64
	endpoint Endpoint
	counter  backend.TokenCounter // nil if the server cannot count
}

// NewRunner makes a runner.
func NewRunner(cfg Config) *Runner {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Jitter == nil {
		cfg.Jitter = rand.Float64
	}
	return &Runner{worker: cfg.Worker, log: cfg.Logger, random: cfg.Jitter, endpoint: cfg.Endpoint, counter: cfg.Counter}
}

// Run runs one attempt of a job, from its journal's end to its result. Exactly one of result and error is meaningful.
//
// A failed job has a result with an error in it. A Go error means that there is no result. It is [ErrStopped] after
// Job.Stop, at a turn boundary; or it wraps context.Cause(ctx); or it is the error of [Journal.Append]; or it reports a bug,
// such as an unreadable journal.
func (r *Runner) Run(ctx context.Context, d *Definition, job Job, uses Session) (batch.Result, error) {
	began := time.Now()
	log := job.Logger
	if log == nil {
		log = r.log.With("job", job.ID.String(), "attempt", job.Attempt)
	}
	a := &attempt{Runner: r, def: d, job: job, session: uses, state: batch.Preflight, log: log}
	s, end := newScope(ctx, job.Stop, d.jobTimeout)
	defer end()

	output, err := a.output(s)
	failed, isData := errors.AsType[*batch.Error](err)
	switch {
	case err == nil:
		err = a.move(batch.Succeed)
	case isData:
		err = a.move(batch.Fail)
	}
	if err != nil {
		return batch.Result{}, fmt.Errorf("run %s: %w", job.ID, err)
	}
	if a.ended != nil && !isData {
		res := *a.ended
		res.Batch, res.JobID, res.Index = job.ID.Batch, batch.JobID(job.ID.Index), job.ID.Index
		return res, nil
	}
	res := batch.Result{
		Batch: job.ID.Batch, JobID: batch.JobID(job.ID.Index), Index: job.ID.Index,
		ID: a.id, Input: a.input, Status: batch.OK, Item: a.item, Output: output,
		Attempts: job.Attempt, Turns: a.turns, Usage: a.usage, Tools: a.counts,
		Model: a.served, LeftOut: a.leftOut, Worker: r.worker, WallMS: time.Since(began).Milliseconds(), Times: a.spent.times(job.Queued),
	}
	switch {
	case a.question == "":
	case a.reused != nil && !isData:
		res.Fingerprint, res.MaxTokens, res.ReusedFrom, res.Model = a.fingerprint, a.reused.MaxTokens, a.reused.From, a.reused.Model
	case !isData:
		res.Fingerprint, res.MaxTokens = a.fingerprint, d.sampling.MaxTokens
	default:
		res.MaxTokens = d.sampling.MaxTokens
	}
	res.Replayed, res.DivergedAt = a.replayed, a.diverged
	res.Files, res.Diff, res.DiffFile = a.left.Files, a.left.Diff, a.left.DiffFile
	res.Row = a.row
	res.FirstCall = a.firstCall
	if a.question != "" {
		res.PromptVersion = d.promptVersion
		res.Question, res.Simulated = a.question, d.simulated
		if d.model != res.Model {
			res.RequestModel = d.model
		}
	}
	if res.Transcript, err = a.transcript(); err != nil {
		return batch.Result{}, err
	}
	if isData {
		res.Status, res.Output, res.Error = batch.StatusFailed, nil, failed
	}
	return res, nil
}

// attempt is one call of Run. It belongs to Run's goroutine.
type attempt struct {
	*Runner
	def     *Definition
	job     Job
	session Session
	part    bool // the attempt answers a part of a reduction: its turns and states are not the job's
	log     *slog.Logger
	state   batch.State
	conv    *conversation

	reopened    bool            // set once the effect log was checked for an open first turn
	item        json.RawMessage // item of a plan; nil if the job has none
	id          string          // the user's own key of the job; "" without one
	row         string          // hash of the input; "" without one
	input       json.RawMessage // carried fields; nil without any
	ended       *batch.Result   // the job's result of an earlier run; nil if the job runs
	reduction   *spec.Reduction
	whole       json.RawMessage  // the input of a program's job
	task        string           // the same job's prompt
	watch       backend.Observer // of all calls; the zero value of jobs without a program
	refusal     *backend.Error   // of the last call that failed for good
	replayed    int              // calls of a program that were answered from the journal
	diverged    int              // as in [batch.Result]
	left        ProgramAnswer    // by a program
	preloaded   []Preloaded      // calls before the first turn
	fields      map[string]any   // of the input
	firstCall   *batch.FirstCall
	question    string      // hash of the job's question; "" without one
	fingerprint string      // "" if the output must not be reused
	reused      *spec.Reuse // an earlier result that is reused for this job; nil if the job runs

	// Totals, including the journal.
	turns  int
	usage  batch.Usage
	counts batch.ToolCounts
	served string // the model's name as reported by the server
	// leftOut lists the sampling fields that the server did not accept, sorted.
	leftOut []string

	spent meter // of this attempt alone
}

// output returns the job's output. A *batch.Error is the job's failure. Any other error ends the attempt without a result.
func (a *attempt) output(s *scope) (json.RawMessage, error) {
	if err := a.preflight(s); err != nil {
		return nil, err
	}
	if err := a.move(batch.Ready); err != nil {
		return nil, err
	}
	switch {
	case a.ended != nil:
		return a.ended.Output, nil
	case a.reused != nil:
		return a.reused.Output, nil
	case a.reduction != nil:
		return a.reduce(s, a.reduction.N)
	case a.def.agent != nil:
		return a.program(s)
	}
	return a.converse(s)
}

// converse runs turns until one returns an answer.
func (a *attempt) converse(s *scope) (json.RawMessage, error) {
	for {
		if err := s.boundary(); err != nil {
			return nil, err
		}
		if err := a.withinBudget(); err != nil {
			return nil, err
		}
		output, answered, err := a.observedTurn(s, a.def.next(a.conv.turns, a.conv.repairing))
		if err != nil || answered {
			return output, err
		}
	}
}

// observedTurn calls turn and reports it to the observer.
func (a *attempt) observedTurn(s *scope, t nextTurn) (output json.RawMessage, answered bool, err error) {
	if a.session.Observer == nil {
		return a.turn(s, t)
	}
	with, ended := a.session.Observer.TurnBegan(s.work, t.number)
	defer func() { ended(err) }()
	return a.turn(s.with(with), t)
}

// turn makes a model call, and runs the tool calls that the model requests. answered reports that output is the job's
// output, which may be empty.
func (a *attempt) turn(s *scope, t nextTurn) (output json.RawMessage, answered bool, err error) {
	resp, err := a.reopen(s, t)
	if err != nil {
		return nil, false, err
	}
	calls := a.newToolRun(s, t)
	if resp == nil {
		resp, calls, err = a.callModel(s, t)
	}
	if err != nil {
		return nil, false, err
	}
	a.count(resp)
	resp.Message.Reasoning = resp.Message.Reasoning.Bounded(maxReasoning)
	usage := turnUsage(resp.Usage)
	switch {
	case resp.Finish == backend.FinishRefused:
		calls.discard()
		return nil, false, refused(resp)
	case resp.Finish == backend.FinishLength && a.def.output != nil && t.mayCall && len(resp.Message.ToolCalls) == 0:
		// This call sent no schema. The repair turn does, and its answer can be shorter.
		calls.discard()
		return nil, false, a.repairTurn(s, t, resp, errors.New("it was cut because it is too long"), usage)
	case resp.Finish == backend.FinishLength:
		calls.discard()
		return nil, false, truncated(resp, a.def)
	case len(resp.Message.ToolCalls) > 0 && t.mayCall:
		return nil, false, a.toolTurn(s, t, resp, calls, usage)
	case len(resp.Message.ToolCalls) > 0 && len(a.def.tools) > 0 && !t.repair:
		calls.discard()
		return nil, false, batch.NewError(batch.TurnsExhausted,
			fmt.Sprintf("the model still asks for tools after max_turns = %d; raise max_turns", a.def.maxTurns))
	}
	calls.discard()
	output, problem := a.def.answer(s.work, resp.Message.Content)
	if over := s.over(); problem != nil && over != nil {
		return nil, false, over // the check may have ended early
	}
	switch {
	case problem == nil:
		if a.def.transcripts {
			a.conv.record = append(a.conv.record, Turn{
				Assistant: backend.Message{Role: backend.RoleAssistant, Content: resp.Message.Content, Reasoning: resp.Message.Reasoning},
				Usage:     usage, Model: resp.Model, Preloaded: a.firstOnly(),
			})
		}
		return output, true, nil
	case t.repair:
		return nil, false, invalid(problem, resp.Message.Content)
	default:
		return nil, false, a.repairTurn(s, t, resp, problem, usage)
	}
}

// withinBudget returns the job's error if its budget is used up. It runs before each model call, so that the last call
// may exceed the budget.
func (a *attempt) withinBudget() error {
	b, used := a.def.budget, a.usage.PromptTokens+a.usage.CompletionTokens
	switch {
	case !b.Spent(a.usage, a.def.prices):
		return nil
	case b.Tokens > 0 && used >= b.Tokens:
		return batch.NewError(batch.BudgetExceeded,
			fmt.Sprintf("the job has used %d tokens in %d turns and may use %d; raise %s.tokens", used, a.turns, b.Tokens, a.def.budgetField))
	default:
		return batch.NewError(batch.BudgetExceeded,
			fmt.Sprintf("the job has cost $%.4f in %d turns and may cost $%.4f; raise %s.usd", a.def.prices.Cost(a.usage), a.turns, b.USD, a.def.budgetField))
	}
}

// move takes one step of the job's state machine.
func (a *attempt) move(e batch.Event) error {
	to, err := batch.Next(a.state, e)
	if err != nil {
		return err
	}
	from := a.state
	a.state = to
	if a.session.Observer != nil && !a.part {
		a.session.Observer.StateChanged(from, to)
	}
	return nil
}

// count adds a model call that ended with a finish reason.
func (a *attempt) count(resp *backend.Response) {
	a.turns++
	a.usage.AddTurn(turnUsage(resp.Usage))
	if resp.Model != "" {
		a.served = resp.Model
	}
	a.leave(resp.LeftOut)
}

// leave adds names of fields that the server did not accept.
func (a *attempt) leave(names []string) {
	for _, name := range names {
		if at, found := slices.BinarySearch(a.leftOut, name); !found {
			a.leftOut = slices.Insert(slices.Clone(a.leftOut), at, name)
		}
	}
}

// refused returns the job's error for an answer that the model or a filter refused.
func refused(resp *backend.Response) error {
	if resp.Refusal == "" {
		e := batch.NewError(batch.BackendRejected, "the server's content filter refused the answer")
		e.RequestAtFault = true
		return e
	}
	e := batch.NewError(batch.BackendRejected, clip("the model refused to answer: "+resp.Refusal, maxMessage))
	e.Raw, e.RequestAtFault = clip(resp.Refusal, maxRaw), true
	return e
}

func turnUsage(u backend.Usage) batch.Usage {
	return batch.Usage{PromptTokens: u.PromptTokens, CachedTokens: max(u.CachedTokens, 0), CompletionTokens: u.CompletionTokens, Estimated: u.Estimated}
}

// scope holds the contexts of one attempt. Each of caller, work and pause ends no later than the one before it.
type scope struct {
	caller context.Context // the worker's context; the journal is written under it
	work   context.Context // ends with the job's time limit; model and tool calls run under it
	pause  context.Context // also ended by Stop; for waits at a turn boundary
	stop   <-chan struct{}
	limit  time.Duration // of the job; 0 means none
	clock  *Clock        // ends work
}

func newScope(ctx context.Context, stop <-chan struct{}, limit time.Duration) (s *scope, end func()) {
	work, cancelWork := context.WithCancel(ctx)
	clock := newClock(limit, cancelWork)
	pause, cancelPause := context.WithCancelCause(work)
	var watcher sync.WaitGroup
	if stop != nil {
		watcher.Go(func() {
			select {
			case <-stop:
				cancelPause(ErrStopped)
			case <-pause.Done():
			}
		})
	}
	return &scope{caller: ctx, work: work, pause: pause, stop: stop, limit: limit, clock: clock}, func() {
		clock.end()
		cancelPause(nil)
		cancelWork()
		watcher.Wait()
	}
}

// with returns a copy of the scope with more values for waits and calls.
func (s *scope) with(values func(context.Context) context.Context) *scope {
	more := *s
	more.work, more.pause = values(s.work), values(s.pause)
	return &more
}

// over returns why the job cannot continue, or nil.
func (s *scope) over() error {
	switch {
	case s.caller.Err() != nil:
		return context.Cause(s.caller)
	case s.work.Err() != nil:
		return batch.NewError(batch.Timeout, fmt.Sprintf("the job took longer than its limit of %s (timeouts.job)", s.limit))
	default:
		return nil
	}
}

// boundary returns the error of over, or ErrStopped if the job was stopped.
func (s *scope) boundary() error {
	if err := s.over(); err != nil {
		return err
	}
	select {
	case <-s.stop:
		return ErrStopped
	default:
		return nil
	}
}

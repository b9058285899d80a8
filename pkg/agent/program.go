package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/plainjson"
	"github.com/batchagent/batchagent/pkg/spec"
)

// Program runs the program of a job in place of our agent loop.
type Program interface {
	// RunProgram starts the program and returns its answer when it has ended. calls makes the program's calls until then. A
	// *batch.Error is the job's failure. Any other error ends the attempt without a result. When ctx ends, RunProgram ends the
	// program and returns ctx's cause. No process of the program is left when it returns.
	RunProgram(ctx context.Context, task ProgramTask, calls *ProgramCalls) (ProgramAnswer, error)
}

// ProgramTask describes a job to its program.
type ProgramTask struct {
	Agent  *spec.Agent
	ID     string          // the user's own key of the job; "" without one
	System string          // the shared prefix, with the instruction about the schema; may be empty
	Task   string          // the rendered task; may be empty
	Input  json.RawMessage // an object with all fields of the input
	Schema json.RawMessage // of the answer; nil for free text
}

// ProgramAnswer is what a program leaves.
type ProgramAnswer struct {
	Text  string // the answer as the program wrote it
	Files map[string]batch.File
	Diff  string
	// DiffFile is the diff if it is too large for a result. Nil otherwise.
	DiffFile *batch.File
}

// ErrRestart is returned by [Program.RunProgram] if the program has to start again, through no fault of its own.
var ErrRestart = errors.New("the program must start again")

var (
	// errBrokeOff ends a program that has seen a part of an answer that the server did not finish. The program starts again, and its
	// calls are answered from the journal.
	errBrokeOff = fmt.Errorf("%w: the server broke off an answer that it had begun to read", ErrRestart)
	// errProgramEnded ends calls that a program left behind.
	errProgramEnded = errors.New("the program has ended")
)

// program runs the job's program and returns its answer. The program starts again if a call broke off too late to be hidden.
func (a *attempt) program(s *scope) (json.RawMessage, error) {
	if a.session.Program == nil {
		return nil, errors.New("a job with a program was given nothing that runs programs")
	}
	journal, err := readJournal(a.job.Turns)
	if err != nil {
		return nil, err
	}
	calls := &ProgramCalls{attempt: a, journal: journal, talks: newTalks(a.job.ID.String()), writing: make(chan struct{}, 1)}
	a.conv = &conversation{} // holds the record
	calls.number = journal.len()
	calls.count()
	began, before := time.Now(), a.spent
	a.spent = meter{}
	defer func() {
		a.replayed, a.diverged = journal.replayed, journal.diverged()
		a.spent.fit(time.Since(began))
		a.spent.add(before)
	}()
	for restarts := 0; ; restarts++ {
		answer, err := calls.run(s, a.programTask())
		if errors.Is(err, ErrRestart) && restarts == a.def.maxRetries {
			return nil, batch.NewError(batch.ProgramFailed, clip(fmt.Sprintf("the program was started %d times: %v", restarts+1, err), maxMessage))
		}
		if errors.Is(err, ErrRestart) {
			a.log.InfoContext(s.work, "the program starts again", "error", err)
			calls.journal.rewind()
			continue
		}
		if err != nil {
			return nil, err
		}
		a.left = answer
		return a.programOutput(s, answer.Text)
	}
}

func (a *attempt) programTask() ProgramTask {
	t := ProgramTask{Agent: a.def.agent, ID: a.id, System: a.def.system, Task: a.task, Input: a.whole}
	if a.def.format != nil {
		t.Schema = a.def.format.JSON
	}
	return t
}

// programOutput returns the job's output from what the program wrote.
func (a *attempt) programOutput(s *scope, text string) (json.RawMessage, error) {
	output, problem := a.def.answer(s.work, text)
	if over := s.over(); problem != nil && over != nil {
		return nil, over // the check may have ended early
	}
	if problem == nil {
		return output, nil
	}
	if e, ok := errors.AsType[*batch.Error](problem); ok {
		return nil, withRaw(e.Type, e.Message, text)
	}
	return nil, withRaw(batch.OutputInvalid, "the program's answer cannot be used: "+problem.Error(), text)
}

// ProgramCalls makes the calls of one job's program. Safe for concurrent use.
type ProgramCalls struct {
	attempt *attempt
	talks   *talks
	writing chan struct{} // held while a call is written to the journal
	refused error         // why the journal took no more calls; held with writing

	mu      sync.Mutex
	journal *programJournal         // guarded by mu
	scope   *scope                  // guarded by mu; of the run under way
	cancel  context.CancelCauseFunc // guarded by mu; ends the run
	ended   error                   // guarded by mu; why the run takes no more calls; nil while it does
	flying  int                     // guarded by mu; calls under way
	since   time.Time               // guarded by mu; the program computes since then; zero while a call is under way or no program runs
	calls   sync.WaitGroup          // calls under way
	asking  int                     // guarded by mu; model calls at the server
	number  int                     // guarded by mu; of the last model call at the server
	failed  *batch.Error            // guarded by mu; of the last model call, if it failed
}

// run runs the program once.
func (c *ProgramCalls) run(s *scope, task ProgramTask) (ProgramAnswer, error) {
	ctx, cancel := context.WithCancelCause(s.work)
	c.mu.Lock()
	c.scope, c.cancel, c.ended, c.failed, c.since = s, cancel, nil, nil, time.Now()
	c.mu.Unlock()
	var watcher sync.WaitGroup
	watcher.Go(func() {
		select {
		case <-s.stop:
			c.stop()
		case <-ctx.Done():
		}
	})
	answer, err := c.attempt.session.Program.RunProgram(ctx, task, c)
	c.end(errProgramEnded)
	cancel(errProgramEnded)
	c.calls.Wait()
	watcher.Wait()
	c.mu.Lock()
	c.computed()
	c.mu.Unlock()
	if c.attempt.state == batch.ToolWait {
		_ = c.attempt.move(batch.ToolsDone) // allowed in this state
	}
	return answer, c.outcome(s, err)
}

// end makes the run take no more calls. The first reason counts.
func (c *ProgramCalls) end(why error) (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return false
	}
	c.ended = why
	return true
}

// abort ends the program, because the attempt ends with this error.
func (c *ProgramCalls) abort(why error) {
	c.end(why)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel(why)
}

// stop ends the program at a boundary of its calls: no further one begins, and those under way may end.
func (c *ProgramCalls) stop() {
	if !c.end(ErrStopped) {
		return
	}
	c.calls.Wait()
	c.abort(ErrStopped)
}

// outcome returns the error of a run that ended with err.
func (c *ProgramCalls) outcome(s *scope, err error) error {
	if over := s.over(); over != nil {
		return over
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !errors.Is(c.ended, errProgramEnded) {
		return c.ended
	}
	e, isData := errors.AsType[*batch.Error](err)
	if isData && e.Type == batch.ProgramFailed && c.failed != nil && c.failed.Retryable {
		out := *c.failed
		out.Message = clip(out.Message+"; then "+e.Message, maxMessage)
		return &out
	}
	return err
}

// begin starts a call. The caller must call the returned function once.
func (c *ProgramCalls) begin() (s *scope, done func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return nil, nil, c.ended
	}
	if over := c.scope.over(); over != nil {
		return nil, nil, over // the program is being ended
	}
	c.calls.Add(1)
	c.computed()
	c.flying++
	if c.flying == 1 && c.attempt.state == batch.ToolWait {
		_ = c.attempt.move(batch.ToolsDone) // allowed in this state
	}
	return c.scope, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.flying--; c.flying == 0 {
			c.since = time.Now()
		}
		if c.flying == 0 && c.attempt.state == batch.Running {
			_ = c.attempt.move(batch.AskTools) // the program computes by itself; allowed in this state
		}
		c.calls.Done()
	}, nil
}

// computed adds the time in which the program had no call under way. The caller holds c.mu.
func (c *ProgramCalls) computed() {
	if !c.since.IsZero() {
		c.attempt.spent.program += time.Since(c.since)
		c.since = time.Time{}
	}
}

// record writes a call to the journal. If it fails, it ends the program, and no further call is written: the lease may be lost.
func (c *ProgramCalls) record(s *scope, t Turn) error {
	data, err := plainjson.Marshal(t)
	if err != nil {
		err = fmt.Errorf("encode a call of the program: %w", err)
		c.abort(err)
		return err
	}
	select {
	case c.writing <- struct{}{}:
		defer func() { <-c.writing }()
	case <-s.caller.Done():
		return context.Cause(s.caller)
	}
	if s.caller.Err() != nil {
		return context.Cause(s.caller) // even if both were ready
	}
	if c.refused != nil {
		return c.refused
	}
	c.mu.Lock()
	turn := c.journal.len() + 1
	c.mu.Unlock()
	if err := c.attempt.session.Journal.Append(s.caller, turn, data); err != nil {
		c.refused = fmt.Errorf("journal a call of the program: %w", err)
		c.abort(c.refused)
		return c.refused
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.journal.add(t)
	c.tally(t)
	return nil
}

// count adds the calls of earlier attempts to the job's totals.
func (c *ProgramCalls) count() {
	for _, t := range c.journal.turns {
		c.tally(t)
	}
}

func (c *ProgramCalls) tally(t Turn) {
	a := c.attempt
	a.counts.Add(t.Counts)
	if t.Call.Tool == "" {
		a.turns++
		a.usage.AddTurn(t.Usage)
		a.served = t.Model
		a.leave(t.LeftOut)
	}
	if a.def.transcripts {
		a.conv.record = append(a.conv.record, t)
	}
}

// Models lists the model of the job.
func (c *ProgramCalls) Models(context.Context) ([]backend.Model, error) {
	return []backend.Model{{ID: c.attempt.def.model, MaxModelLen: c.attempt.def.window, Simulated: c.attempt.def.simulated}}, nil
}

// Tools lists the tools that the spec offers.
func (c *ProgramCalls) Tools() []backend.Tool { return c.attempt.def.tools }

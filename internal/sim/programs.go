package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// programName is the program of runs in which a program is the agent.
const programName = "sim"

// maxTalks is the largest number of conversations of a program.
const maxTalks = 3

// simPrograms runs the program of one worker. It knows nothing of journals: an attempt makes the same calls if it gets the same answers.
type simPrograms struct {
	world *world
	proc  *process
}

// Names implements [worker.Programs].
func (p *simPrograms) Names() []string { return []string{programName} }

// Runs implements [worker.Programs].
func (p *simPrograms) Runs(*spec.Agent) error { return nil }

// Run implements [worker.Programs]. The program has up to [maxTalks] conversations at the same time, as one with sub-agents. Like requests to
// the gateway, its calls do not end with ctx: they end when the engine ends them, or when the process is dead, a moment after ctx.
func (p *simPrograms) Run(ctx context.Context, job batch.Job, _ string, task agent.ProgramTask, calls *agent.ProgramCalls) (agent.ProgramAnswer, error) {
	alive, exit := context.WithCancelCause(context.WithoutCancel(ctx))
	defer exit(nil)
	defer context.AfterFunc(ctx, func() {
		_ = sleep.For(alive, 3*time.Millisecond)
		exit(context.Cause(ctx))
	})()
	run := &programRun{simPrograms: p, job: job, task: task, calls: calls, killed: ctx, alive: alive}
	answers := make([]string, 1+p.world.chance.on("talks", job.String()).IntN(maxTalks))
	var talks sync.WaitGroup
	for i := range answers {
		talks.Go(func() {
			var err error
			if answers[i], err = run.talk(i); err != nil {
				exit(err)
			}
		})
	}
	talks.Wait()
	switch {
	case ctx.Err() != nil:
		return agent.ProgramAnswer{}, context.Cause(ctx)
	case alive.Err() != nil:
		return agent.ProgramAnswer{}, context.Cause(alive)
	}
	return agent.ProgramAnswer{Text: strings.Join(answers, "; ")}, nil
}

// programRun is one run of a program.
type programRun struct {
	*simPrograms
	job    batch.Job
	task   agent.ProgramTask
	calls  *agent.ProgramCalls
	killed context.Context // ends when the engine ends the program
	alive  context.Context // ends when the process is gone
}

// talk is one conversation: an agent loop like ours.
func (r *programRun) talk(number int) (string, error) {
	messages := []backend.Message{
		{Role: backend.RoleSystem, Content: r.task.System}, {Role: backend.RoleUser, Content: fmt.Sprintf("%s Part %d.", r.task.Task, number)},
	}
	for turn := 1; ; turn++ {
		if err := r.compute(number, turn); err != nil {
			r.lastWords(number, messages)
			return "", err
		}
		resp, err := r.ask(messages)
		if err != nil {
			return "", err
		}
		messages = append(messages, resp.Message)
		switch resp.Finish {
		case backend.FinishToolCalls:
		case backend.FinishStop:
			return resp.Message.Content, nil
		default:
			return "", batch.NewError(batch.ProgramFailed, "the answer was cut")
		}
		for _, call := range resp.Message.ToolCalls {
			result, err := r.calls.CallTool(r.alive, call.Name, json.RawMessage(call.Arguments))
			if err != nil {
				return "", err
			}
			r.checkResult(call, result)
			messages = append(messages, backend.Message{Role: backend.RoleTool, ToolCallID: call.ID, Content: "done"})
		}
	}
}

func (r *programRun) request(messages []backend.Message) *backend.Request {
	return &backend.Request{Messages: messages, Tools: r.calls.Tools(), ToolChoice: backend.ToolChoiceAuto}
}

// ask makes a model call, and checks that the answer is the one to this request, that it is the answer of all other runs, and that it
// continues what the program has read of it.
func (r *programRun) ask(messages []backend.Message) (*backend.Response, error) {
	var read strings.Builder
	resp, err := r.calls.Call(r.alive, r.request(messages), backend.Observer{Text: func(piece string) { read.WriteString(piece) }})
	if e, ok := errors.AsType[*backend.Error](err); ok {
		return nil, batch.NewError(batch.ProgramFailed, e.Error())
	}
	if err != nil {
		return nil, err
	}
	key := digest(messages)
	if !strings.HasPrefix(resp.Message.Content, answerTo(key)) {
		r.world.accuse("I10", "%s got the answer %q to call %s of job %d", r.proc.name, resp.Message.Content, key, r.job.Index)
	}
	if !strings.HasPrefix(resp.Message.Content, read.String()) {
		r.world.accuse("I3", "the program of job %d on %s has read %q of the answer %q", r.job.Index, r.proc.name, read.String(), resp.Message.Content)
	}
	if known := r.world.witness(r.job.Index, key, resp.Message.Content); known != resp.Message.Content {
		r.world.accuse("I3", "%s got %q for call %s of job %d; the program has got %q before", r.proc.name, resp.Message.Content, key, r.job.Index, known)
	}
	return resp, nil
}

// lastWords makes a call although the engine ends the program, because processes do not die at once. It must be refused.
func (r *programRun) lastWords(talk int, messages []backend.Message) {
	if r.killed.Err() == nil || !likely(r.world.chance.on("last words", r.proc.name, r.job.String(), strconv.Itoa(talk)), 0.5) {
		return
	}
	if resp, err := r.calls.Call(r.alive, r.request(messages), backend.Observer{}); err == nil {
		r.world.accuse("I1", "%s answered a call of job %d after the end of the attempt: %s", r.proc.name, r.job.Index, resp.Message.Content)
	}
}

// compute is the program's own work. It never takes the same instant as another process. Now and then the program is killed.
func (r *programRun) compute(talk, turn int) error {
	now := strconv.FormatInt(int64(time.Since(r.proc.net.start)), 10)
	draw := r.world.chance.on("program", r.proc.name, r.job.String(), strconv.Itoa(talk), strconv.Itoa(turn), now)
	working, stop := context.WithCancelCause(r.alive)
	defer stop(nil)
	defer context.AfterFunc(r.killed, func() { stop(context.Cause(r.killed)) })()
	if err := sleep.For(working, between(draw, time.Millisecond, r.world.cfg.turnTime)); err != nil {
		return context.Cause(working)
	}
	if likely(draw, 0.02) && !r.world.net.isCalm() {
		return fmt.Errorf("%w: it was killed", agent.ErrRestart)
	}
	return nil
}

// checkResult checks that a tool's result belongs to its call.
func (r *programRun) checkResult(call backend.ToolCall, result toolpool.Result) {
	if result.Failed {
		return
	}
	if want := call.Arguments + " was here"; result.Content != want {
		r.world.accuse("I10", "%s got the result %q for %s(%s) of job %d", r.proc.name, result.Content, call.Name, call.Arguments, r.job.Index)
	}
}

// witnesses are the answers that programs got, by job and call. The first one counts. Guarded by net.mu.
type witnesses map[int64]map[string]string

// witness records that a program got an answer, and returns the answer to the same call of any run of this job before. A program has
// acted on that one, so no run may get another. Without it, the call was lost: it was not in the journal, or not found there. Redis
// itself may lose writes; then nothing is certain.
func (w *world) witness(job int64, call, answer string) (first string) {
	if w.cfg.forgets() || w.cfg.ttl < time.Hour {
		return answer
	}
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	if known, ok := w.witnesses[job][call]; ok {
		return known
	}
	if w.witnesses[job] == nil {
		w.witnesses[job] = map[string]string{}
	}
	w.witnesses[job][call] = answer
	return answer
}

// forgetWitnesses drops the answers of jobs that begin without a journal after a retry.
func (w *world) forgetWitnesses() {
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	for job := range w.witnesses {
		if len(w.check.job(int(job)).journal) == 0 {
			delete(w.witnesses, job)
		}
	}
}

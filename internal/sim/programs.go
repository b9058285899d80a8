package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
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

// simPrograms runs the program of one worker: an agent loop like ours, which knows nothing of journals. Each attempt makes the same calls.
type simPrograms struct {
	world *world
	proc  *process
}

// Names implements [worker.Programs].
func (p *simPrograms) Names() []string { return []string{programName} }

// Runs implements [worker.Programs].
func (p *simPrograms) Runs(*spec.Agent) error { return nil }

// Run implements [worker.Programs]. Between two calls the program computes for a while, and now and then it is killed.
func (p *simPrograms) Run(ctx context.Context, job batch.Job, _ string, task agent.ProgramTask, calls *agent.ProgramCalls) (agent.ProgramAnswer, error) {
	messages := []backend.Message{{Role: backend.RoleSystem, Content: task.System}, {Role: backend.RoleUser, Content: task.Task}}
	for turn := 1; ; turn++ {
		if err := p.compute(ctx, job, turn); err != nil {
			return agent.ProgramAnswer{}, err
		}
		resp, err := calls.Call(ctx, &backend.Request{Messages: messages, Tools: calls.Tools(), ToolChoice: backend.ToolChoiceAuto}, backend.Observer{})
		if e, ok := errors.AsType[*backend.Error](err); ok {
			return agent.ProgramAnswer{}, batch.NewError(batch.ProgramFailed, e.Error())
		}
		if err != nil {
			return agent.ProgramAnswer{}, err
		}
		if resp.Usage.PromptTokens != int64(50*turn) {
			p.world.accuse("I10", "%s got the answer to another call for turn %d of job %d: %+v", p.proc.name, turn, job.Index, resp)
		}
		messages = append(messages, resp.Message)
		switch resp.Finish {
		case backend.FinishToolCalls:
		case backend.FinishStop:
			return agent.ProgramAnswer{Text: resp.Message.Content}, nil
		default:
			return agent.ProgramAnswer{}, batch.NewError(batch.ProgramFailed, "the answer was cut")
		}
		for _, call := range resp.Message.ToolCalls {
			result, err := calls.CallTool(ctx, call.Name, json.RawMessage(call.Arguments))
			if err != nil {
				return agent.ProgramAnswer{}, err
			}
			p.checkResult(job, call, result)
			messages = append(messages, backend.Message{Role: backend.RoleTool, ToolCallID: call.ID, Content: "done"})
		}
	}
}

// compute is the program's own work. It never takes the same instant as another process.
func (p *simPrograms) compute(ctx context.Context, job batch.Job, turn int) error {
	draw := p.world.chance.on("program", p.proc.name, job.String(), strconv.Itoa(turn), strconv.FormatInt(int64(time.Since(p.proc.net.start)), 10))
	if err := sleep.For(ctx, between(draw, time.Millisecond, p.world.cfg.turnTime)); err != nil {
		return context.Cause(ctx)
	}
	if likely(draw, 0.02) && !p.world.net.isCalm() {
		return fmt.Errorf("%w: it was killed", agent.ErrRestart)
	}
	return nil
}

// checkResult checks that a tool's result belongs to its call.
func (p *simPrograms) checkResult(job batch.Job, call backend.ToolCall, r toolpool.Result) {
	if r.Failed {
		return
	}
	if want := call.Arguments + " was here"; r.Content != want {
		p.world.accuse("I10", "%s got the result %q for %s(%s) of job %d", p.proc.name, r.Content, call.Name, call.Arguments, job.Index)
	}
}

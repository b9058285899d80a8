package localrun

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/earlier"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/backend/dial"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// Program is a batch of a Go program. It does the same as [Run] and [Prepare], without a terminal.
type Program struct {
	Spec   any          // struct with the fields of a spec, see [spec.New]
	Inputs spec.Records // replace the spec's inputs; nil keeps them

	Backend   string // URL; "" uses BATCHAGENT_BACKEND, then Local
	Local     string // host:port to probe for a server; "" skips the probe
	Simulated bool   // use a simulated server and no other

	Reuse                string // a results file with results to reuse
	ToolsRoot, ToolsFile string
	Tools                []toolpool.Tool // functions of the program
	Logger               *slog.Logger

	// Check, CheckPlan and CheckSummary check an output of a job, of the planner, and of the reduction. They return an
	// error if the program cannot read it. The model then gets one more attempt. They are called concurrently. Nil
	// accepts all outputs.
	Check, CheckPlan, CheckSummary func(output json.RawMessage) error
}

// programSpec is the display name of a program's spec.
const programSpec = "batch"

// Run runs the batch in this process and calls to with its results, on the caller's goroutine. It returns after the last
// result, with the first error of to, or with the cause of ctx. Its goroutines have ended by then.
func (p *Program) Run(ctx context.Context, to collect.Callbacks) error {
	s, prepared, err := p.load(ctx, nil)
	if err != nil {
		return err
	}
	defer s.Close()
	err = p.here(ctx, s, prepared, to)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Prepare checks the batch and all its inputs and submits nothing. connect opens the Redis of the cluster, for inputs that
// are results of another batch. Nil makes such inputs an error. The caller closes the Submission.
func (p *Program) Prepare(ctx context.Context, connect func(context.Context) (*statestore.Store, error)) (*operation.Submission, error) {
	s, prepared, err := p.load(ctx, connect)
	if err != nil {
		return nil, err
	}
	return operation.NewSubmission(s, prepared, notice.Logged(p.Logger)), nil
}

func (p *Program) load(ctx context.Context, connect earlier.Connect) (*spec.Spec, *spec.Prepared, error) {
	if p.Logger == nil {
		p.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := spec.New(programSpec, p.Spec, spec.LoadOptions{ToolsRoot: p.ToolsRoot, Stdin: os.Stdin, Inputs: p.Inputs, Earlier: earlier.Inputs(connect, notice.Logged(p.Logger))})
	if err != nil {
		return nil, nil, operation.InputError(withoutLines(err))
	}
	prepared, err := operation.Compile(ctx, s, "")
	if err != nil {
		_ = s.Close()
		return nil, nil, withoutLines(err)
	}
	operation.SendNotes(s, prepared, notice.Logged(p.Logger))
	return s, prepared, nil
}

// withoutLines removes the line numbers from spec errors, because a program's spec has no visible lines.
func withoutLines(err error) error {
	if mistakes, ok := errors.AsType[spec.Errors](err); ok {
		for _, m := range mistakes {
			m.Line = 0
		}
	}
	return err
}

// here runs the batch in this process.
func (p *Program) here(ctx context.Context, s *spec.Spec, prepared *spec.Prepared, to collect.Callbacks) error {
	tools, err := OpenTools(ctx, ToolOptions{
		Root: p.ToolsRoot, File: p.ToolsFile, own: p.Tools, Getenv: os.Getenv, Logger: p.Logger,
	}, prepared)
	if err != nil {
		return err
	}
	defer tools.Close()
	from := candidates{given: p.Backend, by: "a Backend", spec: s.Backend, env: os.Getenv("BATCHAGENT_BACKEND"), local: p.Local}
	if p.Simulated {
		from = candidates{simulate: true, tools: min(len(prepared.Jobs.Tools), prepared.Jobs.MaxTurns-1)}
	}
	server, err := chooseBackend(ctx, from, dial.Options{Logger: p.Logger, Getenv: os.Getenv})
	if err != nil {
		return err
	}
	defer server.stopAll()
	model, err := server.modelFor(prepared)
	if err != nil {
		return err
	}
	if p.Reuse != "" {
		reuse, err := earlier.LocalReuse(ctx, p.Reuse, prepared, tools.Pool, model, notice.Logged(p.Logger))
		if err != nil {
			return err
		}
		defer reuse.Close()
	}
	l := &batchRun{
		prepared: prepared, server: server, tools: tools, workers: 1, logger: p.Logger, id: statestore.NewID(time.Now()),
		sink: &collect.Callback{Call: to.Each}, planned: &collect.Callback{Call: to.Planned}, summary: &collect.Callback{Call: to.Reduced},
		notify: notice.Logged(p.Logger),
	}
	l.check = func(id batch.ID, output json.RawMessage) error {
		check := p.Check
		switch id {
		case l.id.ForStage(batch.StagePlan):
			check = p.CheckPlan
		case l.id.ForStage(batch.StageReduce):
			check = p.CheckSummary
		}
		if check == nil {
			return nil
		}
		return check(output)
	}
	return l.execute(ctx, nil)
}

package localrun

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/internal/earlier"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/internal/outage"
	"github.com/batchagent/batchagent/pkg/backend/dial"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// Program is a batch of a Go program. It does the same as [Run] and [Submission.Submit], without a terminal.
type Program struct {
	Spec   json.RawMessage // content of a spec file
	Inputs spec.Records    // replace the spec's inputs; nil keeps them

	Redis     string // URL; "" runs the batch in this process
	Backend   string // URL; "" uses the spec's, then BATCHAGENT_BACKEND, then Local
	Local     string // host:port to probe for a server; "" skips the probe
	Simulated bool   // use a simulated server and no other

	Reuse                string // with Redis, a batch ID or [ReuseOwner]; otherwise a results file
	ToolsRoot, ToolsFile string
	Tools                []toolpool.Tool // functions of the program; must be empty with Redis, because its workers do not have them
	Logger               *slog.Logger

	// Check, CheckPlan and CheckSummary check an output of a job, of the planner, and of the reduction. They return an
	// error if the program cannot read it. Without Redis the model then gets one more attempt. They are called
	// concurrently. Nil accepts all outputs.
	Check, CheckPlan, CheckSummary func(output json.RawMessage) error

	// Planned is called with the planner's one result before any result of the batch. It is required if the spec has a
	// planner.
	Planned func(batch.Result) error
	// Reduced is called with the reduction's one result after the results of the batch. It is called again if failed
	// jobs were retried meanwhile. It is required if the spec has a reduction.
	Reduced func(batch.Result) error
}

// programSpec is the display name of a program's spec.
const programSpec = "batch"

// Run calls each with every result as jobs end, on the caller's goroutine. It returns after the last result, with the
// first error of each, or with the cause of ctx. Its goroutines have ended by then. A batch on a cluster continues
// without Run, and the same program resumes it when it runs again.
func (p *Program) Run(ctx context.Context, each func(batch.Result) error) error {
	if p.Logger == nil {
		p.Logger = slog.New(slog.DiscardHandler)
	}
	connect, closeStore := p.connector()
	defer closeStore()
	s, err := spec.LoadText(programSpec, p.Spec, spec.LoadOptions{ToolsRoot: p.ToolsRoot, Stdin: os.Stdin, Inputs: p.Inputs, Earlier: earlier.Inputs(connect, p.notify)})
	if err != nil {
		return operation.InputError(withoutLines(err))
	}
	defer s.Close()
	prepared, err := operation.Compile(ctx, s, "")
	if err != nil {
		return withoutLines(err)
	}
	operation.SendNotes(s, prepared, p.notify)
	if p.Redis != "" {
		err = p.onCluster(ctx, s, prepared, connect, &collect.Callback{Call: each})
	} else {
		err = p.here(ctx, s, prepared, &collect.Callback{Call: each})
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// connector returns a function that opens the program's Redis once; nil without Redis.
func (p *Program) connector() (connect earlier.Connect, closeStore func()) {
	if p.Redis == "" {
		return nil, func() {}
	}
	return operation.Once(func(ctx context.Context) (*statestore.Store, error) {
		to, err := config.ReadRedis(p.Redis, os.Getenv)
		if err != nil {
			return nil, &fault.UsageError{Err: err}
		}
		return operation.Connect(ctx, to)
	})
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
func (p *Program) here(ctx context.Context, s *spec.Spec, prepared *spec.Prepared, each *collect.Callback) error {
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
		reuse, err := earlier.LocalReuse(ctx, p.Reuse, prepared, tools.Pool, model, p.notify)
		if err != nil {
			return err
		}
		defer reuse.Close()
	}
	l := &batchRun{
		prepared: prepared, server: server, tools: tools.Pool, workers: 1, logger: p.Logger, id: statestore.NewID(time.Now()),
		sink: each, planned: &collect.Callback{Call: p.Planned}, summary: &collect.Callback{Call: p.Reduced}, notify: p.notify,
	}
	l.check = func(id batch.ID, output json.RawMessage) error {
		check := p.Check
		switch id {
		case l.id.Planner():
			check = p.CheckPlan
		case l.id.Reducer():
			check = p.CheckSummary
		}
		if check == nil {
			return nil
		}
		return check(output)
	}
	return l.execute(ctx, nil)
}

// onCluster submits the batch and follows it. The submission stays booked until every result was delivered, so that a
// restarted program finds its batch.
func (p *Program) onCluster(ctx context.Context, s *spec.Spec, prepared *spec.Prepared, connect earlier.Connect, each *collect.Callback) error {
	if len(p.Tools) > 0 {
		names := make([]string, len(p.Tools))
		for i, t := range p.Tools {
			names[i] = t.Name
		}
		return fault.Usagef("%s: functions of this program, which the workers of a cluster do not have; declare them in the workers' tools file and name them, or run without Redis",
			strings.Join(names, ", "))
	}
	store, err := connect(ctx)
	if err != nil {
		return err
	}
	sub := operation.NewSubmission(s, prepared, p.notify)
	sub.ReuseFrom = p.Reuse
	defer sub.Close()
	if _, err := operation.On(store, p.notify).Submit(ctx, sub); err != nil {
		if errors.Is(err, fault.ErrJobsFailed) {
			_ = sub.Announced(ctx) // it was cancelled: the next run submits a new batch
		}
		return err
	}
	c := &collect.Collector{Store: store, ID: sub.ID, Sink: each, Wait: outage.Wait{Store: store, Notify: p.notify}}
	planned, reduced := collect.IfStage(prepared.Planner != nil, &collect.Callback{Call: p.Planned}), collect.IfStage(prepared.Reducer != nil, &collect.Callback{Call: p.Reduced})
	if err := c.FollowStages(ctx, planned, reduced); err != nil {
		return err
	}
	return sub.Announced(ctx)
}

// notify logs a notice.
func (p *Program) notify(n notice.Notice) {
	level := slog.LevelInfo
	if n.Code.Warns() {
		level = slog.LevelWarn
	}
	p.Logger.Log(context.Background(), level, n.Text)
}

package operation

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/toolset"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// CheckTools returns an error if no worker offers a tool of the batch. It also does if the batch shares a tool more
// widely than every worker's operator allows. If no worker is up, it sends a notice instead. It does the same if
// Redis does not answer; Submit waits for Redis.
func (s *Submission) CheckTools(ctx context.Context, store WorkerLister) error {
	for _, stage := range []*spec.Compiled{s.load.Compiled, s.load.Planner} {
		if stage == nil {
			continue
		}
		if err := mayRun(stage); err != nil {
			return &fault.UsageError{Err: err}
		}
		if err := s.checkTools(ctx, store, stage); err != nil {
			return err
		}
	}
	return nil
}

// mayRun returns an error for a spec that brings its own program: nobody may run commands on the machines of others.
func mayRun(compiled *spec.Compiled) error {
	if compiled.Agent == nil || !compiled.Agent.Own() {
		return nil
	}
	return errors.New("agent: a spec cannot bring its own command to a cluster; the operator declares it under programs: in the workers' tools.yaml, and the spec names it with agent.program. " +
		"A run on one machine can have agent.command")
}

func (s *Submission) checkTools(ctx context.Context, store WorkerLister, compiled *spec.Compiled) error {
	wanted := compiled.Needs()
	if len(wanted) == 0 {
		return nil
	}
	workers, err := store.Workers(ctx)
	if err != nil && !fault.IsUnreachable(err) {
		return err
	}
	workers = batch.Live(workers)
	if err != nil || len(workers) == 0 {
		s.notify.Send(notice.ToolsUnknown, "no worker is up, so the tools of the spec cannot be checked:  %s", strings.Join(wanted, ", "))
		return nil
	}
	var offered []string
	able := false
	for _, w := range workers {
		offered = append(offered, w.Tools...)
		able = able || toolset.Missing(wanted, w.Tools) == nil
	}
	if err := toolset.Missing(wanted, offered); err != nil {
		return &fault.UsageError{Err: err}
	}
	if err := errors.Join(Narrows(compiled, workers), Preloads(compiled, workers), Repeatable(compiled, workers)); err != nil {
		return &fault.UsageError{Err: err}
	}
	if !able {
		s.notify.Send(notice.ToolsSplit, "no single worker offers all tools of the spec, so the batch waits for one that does:  %s", strings.Join(wanted, ", "))
	}
	return nil
}

// Narrows returns an error if a spec shares a tool more widely than every worker that offers it allows.
func Narrows(compiled *spec.Compiled, workers []batch.WorkerRecord) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(compiled.ToolSettings)) {
		own := compiled.ToolSettings[name]
		var refused error
		for _, w := range workers {
			s, known := w.Sharing[toolpool.WireName(name)]
			if !known {
				continue
			}
			t := toolpool.Tool{Name: name, Share: toolpool.Share(s.Share), TTL: s.TTL}
			if _, _, refused = toolpool.Narrow(t, toolpool.Share(own.Share), own.TTL); refused == nil {
				break
			}
		}
		errs = append(errs, refused)
	}
	return errors.Join(errs...)
}

// Preloads returns an error if a preloaded tool has side effects on every worker that offers it.
func Preloads(compiled *spec.Compiled, workers []batch.WorkerRecord) error {
	var errs []error
	for _, p := range compiled.Preload {
		var refused error
		for _, w := range workers {
			s, known := w.Sharing[toolpool.WireName(p.Tool)]
			if known && s.Share != string(toolpool.Effect) {
				refused = nil
				break
			}
			if known {
				refused = errors.New(spec.NoEffects(p.Tool))
			}
		}
		errs = append(errs, refused)
	}
	return errors.Join(errs...)
}

// Repeatable returns an error if identical jobs cannot run once on any worker, because of a tool.
func Repeatable(compiled *spec.Compiled, workers []batch.WorkerRecord) error {
	var errs []error
	for _, name := range compiled.Needs() {
		own := compiled.ToolSettings[name]
		var refused error
		for _, w := range workers {
			s, known := w.Sharing[toolpool.WireName(name)]
			if !known {
				continue
			}
			share, _, _ := toolpool.Narrow(toolpool.Tool{Name: name, Share: toolpool.Share(s.Share), TTL: s.TTL}, toolpool.Share(own.Share), own.TTL)
			if refused = compiled.CheckOnce(name, string(share)); refused == nil {
				break
			}
		}
		errs = append(errs, refused)
	}
	return errors.Join(errs...)
}

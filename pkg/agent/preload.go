package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// Preloaded is a call that was made before the first turn, with its result. The first turn of the journal keeps it, so that a
// takeover sends the same prompt, even if the tool would return another result now.
type Preloaded struct {
	Tool      string     `json:"tool"`
	Arguments string     `json:"arguments"` // a JSON object
	Content   string     `json:"content"`
	Source    CallSource `json:"source"`
	Executed  bool       `json:"executed,omitempty"` // this job's call ran the tool
}

// text returns the call as it stands in the prompt. It depends on the call and its result alone, so that the prompts of jobs with
// equal calls begin alike.
func (p Preloaded) text() string {
	return fmt.Sprintf("<%s %s>\n%s\n</%s>\n\n", p.Tool, p.Arguments, p.Content, p.Tool)
}

// preload makes the job's preloaded calls, or takes their results from the journal. It holds no slot.
func (a *attempt) preload(s *scope, calls []spec.PreloadCall, journal []Turn) error {
	switch {
	case len(calls) == 0:
		return nil
	case len(journal) > 0 && len(journal[0].Preloaded) == len(calls):
		a.preloaded = journal[0].Preloaded
	default:
		if err := a.runPreloads(s, calls); err != nil {
			return err
		}
	}
	for _, p := range a.preloaded {
		a.counts.Asked++
		if p.Executed {
			a.counts.Executed++
		}
	}
	return nil
}

// runPreloads runs the calls at the same time. A failed call fails the job: an answer without the text that it is about would be
// wrong, and look right.
func (a *attempt) runPreloads(s *scope, calls []spec.PreloadCall) error {
	opened, err := a.openedPreloads(s)
	if err != nil || len(opened) == len(calls) {
		a.preloaded = opened
		return err
	}
	began := time.Now()
	results, errs, ends := make([]toolpool.Result, len(calls)), make([]error, len(calls)), make([]time.Time, len(calls))
	var running sync.WaitGroup
	for i, c := range calls {
		running.Go(func() {
			results[i], errs[i] = a.runPreload(s.pause, c)
			ends[i] = time.Now()
		})
	}
	running.Wait()
	last := 0
	for i := range ends {
		if ends[i].After(ends[last]) {
			last = i
		}
	}
	if results[last].Executed {
		since(began, &a.spent.tools)
	} else {
		since(began, &a.spent.toolsShared)
	}
	for i, c := range calls {
		if errs[i] != nil {
			return s.ended(errs[i])
		}
		if r := results[i]; r.Failed {
			return batch.NewError(batch.PreloadFailed, clip(fmt.Sprintf("preload %s %s: %s", c.Tool, c.Args, r.Content), maxMessage))
		}
	}
	for i, c := range calls {
		r := results[i]
		a.preloaded = append(a.preloaded, Preloaded{
			Tool: c.Tool, Arguments: string(c.Args), Content: r.Content, Source: CallSource{From: r.Source, By: r.By}, Executed: r.Executed,
		})
	}
	return nil
}

// openedPreloads returns the preloaded calls of a first turn that an earlier attempt had opened, or nil.
func (a *attempt) openedPreloads(s *scope) ([]Preloaded, error) {
	if a.session.Effects == nil || !a.def.effects {
		return nil, nil
	}
	opened, err := a.openedTurn(s, 1)
	if err != nil || opened == nil {
		return nil, err
	}
	return opened.Preloaded, nil
}

func (a *attempt) runPreload(ctx context.Context, c spec.PreloadCall) (toolpool.Result, error) {
	call := a.def.preloads[c.Tool]
	call.Arguments, call.TurnsRemaining = string(c.Args), a.def.maxTurns
	return a.session.Tools.Call(ctx, call)
}

package operation

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// StatusReport describes a batch and the workers that can serve it. `status --json` prints its JSON form.
type StatusReport struct {
	batch.Info
	TTL Duration `json:"ttl"` // that of Info
	batch.Condition
	Planning *Planning `json:"planning,omitempty"` // nil if the batch has no planner
	// Stages are the batch's stages in the order of their execution, including its jobs; nil if it has only jobs.
	Stages []StageUse `json:"stages,omitempty"`

	Sharing float64  `json:"sharing,omitempty"` // see [batch.Usage.Sharing]; omitted if unknown
	Workers []string `json:"workers"`           // IDs of live workers that can serve the batch; empty once it is done
	Trouble string   `json:"trouble"`           // why no worker can serve the batch; "" if one can or the batch is done
	// Pause is the reason why the workers that could serve it make no model calls; nil unless all of them are paused.
	Pause *batch.Pause `json:"pause,omitempty"`
	// Away lists the paused workers, with reasons, while others serve the batch.
	Away []string `json:"away,omitempty"`
}

// Status implements [Batches].
func (c *Cluster) Status(ctx context.Context, id batch.ID) (StatusReport, error) {
	s := c.Store
	info, err := s.Info(ctx, id)
	if err != nil {
		return StatusReport{}, err
	}
	workers, err := s.Workers(ctx)
	if err != nil {
		return StatusReport{}, err
	}
	r := StatusReport{Info: info, TTL: Duration(info.TTL), Sharing: info.Counts.Usage.Sharing(), Workers: serversOf(info, workers)}
	if r.Planning, err = PlanningOf(ctx, s, info.Header); err != nil {
		return StatusReport{}, err
	}
	if r.Stages, err = StagesOfInfo(ctx, s, info); err != nil {
		return StatusReport{}, err
	}
	r.Condition = conditionOf(info, r.Stages, workers)
	switch {
	case info.Phase.Terminal():
	case len(r.Workers) == 0:
		r.Trouble, r.Pause = trouble(needsOf(info), workers)
	default:
		r.Away = pausedFor(needsOf(info), workers)
	}
	return r, nil
}

// servable returns the reason why a worker cannot serve a batch; "" if it can.
func servable(h batch.Header, w batch.WorkerRecord) string {
	if h.Model != "" && len(w.Models) > 0 && !slices.ContainsFunc(w.Models, func(id string) bool { return backend.Model{ID: id}.Is(h.Model) }) {
		return "serves " + strings.Join(w.Models, ", ") + " and not " + h.Model
	}
	for _, t := range h.Tools {
		if !slices.Contains(w.Tools, toolpool.WireName(t)) {
			return "has no tool " + t
		}
	}
	p := pauseFor(h, w)
	switch {
	case w.Lost:
		return "is lost"
	case w.Draining:
		return "is shutting down"
	case p != nil:
		return "is " + p.String()
	case !w.Ready:
		return "waits for its model server " + w.Endpoint
	}
	return ""
}

// pauseFor returns why a worker makes no model calls for a batch; nil if it makes calls.
func pauseFor(h batch.Header, w batch.WorkerRecord) *batch.Pause {
	model := h.Model
	if model == "" && len(w.Models) > 0 {
		model = w.Models[0]
	}
	if w.Lost {
		return nil
	}
	i := slices.IndexFunc(w.Pauses, func(p batch.Pause) bool { return p.Model == "" || p.Model == model })
	if i < 0 {
		return nil
	}
	return &w.Pauses[i]
}

// pausedFor lists the workers that would serve a batch if they were not paused, with their reasons.
func pausedFor(h batch.Header, workers []batch.WorkerRecord) []string {
	var out []string
	for _, w := range workers {
		if p := pauseFor(h, w); p != nil && servable(h, w) == "is "+p.String() {
			out = append(out, w.ID+" "+servable(h, w))
		}
	}
	return out
}

// trouble returns why no worker serves a batch. If every worker with its model and tools is paused, it also returns the
// longest pause.
func trouble(h batch.Header, workers []batch.WorkerRecord) (string, *batch.Pause) {
	if len(batch.Live(workers)) == 0 {
		return "no worker is alive; jobs wait until one starts", nil
	}
	var longest *batch.Pause
	reasons := make([]string, 0, 3)
	for _, w := range workers {
		why := servable(h, w)
		if p := pauseFor(h, w); p != nil && why == "is "+p.String() && (longest == nil || p.Since.Before(longest.Since)) {
			longest = p
		}
		if len(reasons) < cap(reasons) {
			reasons = append(reasons, w.ID+" "+why)
		}
	}
	if more := len(workers) - len(reasons); more > 0 {
		reasons = append(reasons, fmt.Sprintf("and %d more", more))
	}
	why := strings.Join(reasons, "; ")
	if longest != nil {
		return fmt.Sprintf("%s; its jobs wait (%s)", longest, why), longest
	}
	return "no live worker can serve this batch, so its jobs wait: " + why, nil
}

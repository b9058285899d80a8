package operation

import (
	"context"
	"fmt"
	"strings"

	"github.com/batchagent/batchagent/internal/serving"
	"github.com/batchagent/batchagent/pkg/batch"
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
		r.Trouble, r.Pause = trouble(serving.Needs(info), workers)
	default:
		r.Away = pausedFor(serving.Needs(info), workers)
	}
	return r, nil
}

// pausedFor lists the workers that would serve a batch if they were not paused, with their reasons.
func pausedFor(h batch.Header, workers []batch.WorkerRecord) []string {
	var out []string
	for _, w := range workers {
		if p := serving.PauseFor(h, w); p != nil && serving.Obstacle(h, w) == "is "+p.String() {
			out = append(out, w.ID+" "+serving.Obstacle(h, w))
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
		why := serving.Obstacle(h, w)
		if p := serving.PauseFor(h, w); p != nil && why == "is "+p.String() && (longest == nil || p.Since.Before(longest.Since)) {
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

package server

import (
	"fmt"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/diagnose"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/operation"
)

// timesView shows where the time of a batch's agents went, and the bottleneck.
type timesView struct {
	Bar   barView
	Parts []timePart
	Bound diagnose.Bound
	// Queued is the average time in seconds that a job waited in Redis. The bar does not include it.
	Queued float64
}

type timePart struct {
	Class, Name string
	MS, Of      int64
}

// timesOf draws the times of the results that were read; nil if no result has times.
func timesOf(t collect.Tally, status operation.StatusReport) *timesView {
	if t.WallMS == 0 {
		return nil
	}
	v := &timesView{Bar: barView{Label: "Where the agents' time went"}, Bound: diagnose.BoundOf(t, status)}
	v.Queued = float64(t.Times.Queued) / 1000 / float64(max(t.OK+t.Failed+t.Cancelled, 1))
	from := 0.0
	for _, p := range diagnose.PartsOf(t.Times, t.WallMS) {
		if p.MS == 0 {
			continue
		}
		of := 100 * float64(p.MS) / float64(t.WallMS)
		v.Bar.Parts = append(v.Bar.Parts, barPart{"t-" + p.Name, from, of})
		from += of
		v.Parts = append(v.Parts, timePart{"t-" + p.Name, diagnose.PartName(p.Name), p.MS, t.WallMS})
		v.Bar.Label += fmt.Sprintf(", %s %s", diagnose.PartName(p.Name), human.Percent(p.MS, t.WallMS))
	}
	return v
}

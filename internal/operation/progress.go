package operation

import (
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Progress is a snapshot of a batch.
type Progress struct {
	Name    string
	Phase   batch.Phase
	Total   int64 // jobs of the batch; -1 while another process still feeds them
	Counts  batch.Counts
	Pause   *batch.Pause // why no model call starts; nil if calls start
	Plans   bool         // the jobs are still being planned
	Rate    float64      // jobs per second; 0 if unknown
	Elapsed time.Duration
}

// ProgressOf converts a batch's record to a Progress.
func ProgressOf(i batch.Info) Progress {
	return Progress{Name: i.Name, Phase: i.Phase, Total: i.Counts.Total, Counts: i.Counts, Plans: i.Plan && i.Phase == batch.Open}
}

// ETA returns the time until the end at the present rate. It is unknown while no model call starts.
func (p Progress) ETA() (time.Duration, bool) {
	left := p.Total - p.Counts.Finished()
	if p.Pause != nil || p.Rate <= 0 || p.Total < 0 || left <= 0 {
		return 0, false
	}
	seconds := float64(left) / p.Rate
	if seconds > 365*24*3600 {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}

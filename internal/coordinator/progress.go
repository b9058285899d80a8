package coordinator

import (
	"fmt"
	"strings"
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

// progressOf converts a batch's record to a Progress.
func progressOf(i batch.Info) Progress {
	return Progress{Name: i.Name, Phase: i.Phase, Total: i.Counts.Total, Counts: i.Counts, Plans: i.Plan && i.Phase == batch.Open}
}

// Line formats the progress in one line of at most width runes; 0 means no limit.
func (p Progress) Line(width int) string {
	c := p.Counts
	parts := []string{p.Name}
	if p.Plans {
		return p.Name + "  being planned"
	}
	if p.Total > 0 {
		parts = append(parts, fmt.Sprintf("%s/%s", count(c.Finished()), count(p.Total)), percent(c.Finished(), p.Total))
	} else {
		parts = append(parts, count(c.Finished())+" of "+count(c.Fed)+" so far")
	}
	parts = append(parts, "ok "+count(c.OK))
	if c.Failed > 0 {
		parts = append(parts, "failed "+count(c.Failed))
	}
	if c.Cancelled > 0 {
		parts = append(parts, "cancelled "+count(c.Cancelled))
	}
	parts = append(parts, "running "+count(c.Running))
	if c.Usage.CachedTokens > 0 {
		parts = append(parts, "cached "+percent(c.Usage.CachedTokens, c.Usage.PromptTokens))
	}
	if shared := c.Tools.Asked - c.Tools.Executed; shared > 0 {
		parts = append(parts, "tool calls shared "+percent(shared, c.Tools.Asked))
	}
	if p.Phase == batch.Cancelling {
		parts = append(parts, "being cancelled")
	}
	if p.Pause != nil {
		parts = append(parts, p.Pause.String())
	}
	if p.Rate > 0 && p.Pause == nil {
		parts = append(parts, perSecond(p.Rate)+" jobs/s")
	}
	if eta, ok := p.ETA(); ok {
		parts = append(parts, "ETA "+span(eta))
	}
	line := []rune(strings.Join(parts, "  "))
	if width > 1 && len(line) > width {
		line = append(line[:width-1], '…')
	}
	return string(line)
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

// Bar formats the progress as a bar of width cells.
func (p Progress) Bar(width int) string {
	full := 0
	if p.Total > 0 {
		full = int(p.Counts.Finished() * int64(width) / p.Total)
	}
	full = max(0, min(full, width))
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", width-full) + "]"
}

// rateWindow is the time over which a rate is measured.
const rateWindow = 15 * time.Second

// meter measures jobs per second over the last rateWindow.
type meter struct{ samples []sample }

type sample struct {
	at time.Duration // since the start
	n  int64
}

// rate records the count n at a time and returns the rate up to then.
func (m *meter) rate(at time.Duration, n int64) float64 {
	m.samples = append(m.samples, sample{at, n})
	for len(m.samples) > 2 && at-m.samples[1].at >= rateWindow {
		m.samples = m.samples[1:]
	}
	first := m.samples[0]
	if at <= first.at || n <= first.n {
		return 0
	}
	return float64(n-first.n) / (at - first.at).Seconds()
}

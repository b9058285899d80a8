package terminal

import (
	"fmt"
	"strings"
	"time"

	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/batch"
)

// progressLine formats the progress in one line of at most width runes; 0 means no limit.
func progressLine(p operation.Progress, width int) string {
	c := p.Counts
	parts := []string{p.Name}
	if p.Plans {
		return p.Name + "  being planned"
	}
	if p.Total > 0 {
		parts = append(parts, fmt.Sprintf("%s/%s", human.Count(c.Finished()), human.Count(p.Total)), human.Percent(c.Finished(), p.Total))
	} else {
		parts = append(parts, human.Count(c.Finished())+" of "+human.Count(c.Fed)+" so far")
	}
	parts = append(parts, "ok "+human.Count(c.OK))
	if c.Failed > 0 {
		parts = append(parts, "failed "+human.Count(c.Failed))
	}
	if c.Cancelled > 0 {
		parts = append(parts, "cancelled "+human.Count(c.Cancelled))
	}
	parts = append(parts, "running "+human.Count(c.Running))
	if c.Usage.CachedTokens > 0 {
		parts = append(parts, "cached "+human.Percent(c.Usage.CachedTokens, c.Usage.PromptTokens))
	}
	if shared := c.Tools.Asked - c.Tools.Executed; shared > 0 {
		parts = append(parts, "tool calls shared "+human.Percent(shared, c.Tools.Asked))
	}
	if p.Phase == batch.Cancelling {
		parts = append(parts, "being cancelled")
	}
	if p.Pause != nil {
		parts = append(parts, p.Pause.String())
	}
	if p.Rate > 0 && p.Pause == nil {
		parts = append(parts, human.PerSecond(p.Rate)+" jobs/s")
	}
	if eta, ok := p.ETA(); ok {
		parts = append(parts, "ETA "+human.Span(eta))
	}
	line := []rune(strings.Join(parts, "  "))
	if width > 1 && len(line) > width {
		line = append(line[:width-1], '…')
	}
	return string(line)
}

// bar formats the progress as a bar of width cells.
func bar(p operation.Progress, width int) string {
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

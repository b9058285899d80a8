package terminal

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/batchagent/batchagent/internal/earlier"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/pkg/batch"
)

// jobsOf returns the number of jobs, and of the rows from which they were chosen.
func jobsOf(jobs, rows int64) string {
	if jobs >= rows {
		return human.Count(jobs)
	}
	return fmt.Sprintf("%s of %s rows", human.Count(jobs), human.Count(rows))
}

// whole estimates what all rows would take, from the rows that ran. It returns "" if all rows ran.
func (s Summary) whole() string {
	done := s.OK + s.Failed + s.Cancelled
	if s.Rows <= s.Total || done == 0 {
		return ""
	}
	times := func(n int64) int64 { return int64(float64(n) * float64(s.Rows) / float64(done)) }
	prompt, completion := times(s.Usage.PromptTokens), times(s.Usage.CompletionTokens)
	parts := []string{human.Plural(rounded(prompt+completion), "token", "tokens")}
	if s.Prices != (batch.Prices{}) {
		cost := s.Prices.Cost(batch.Usage{PromptTokens: prompt, CachedTokens: times(s.Usage.CachedTokens), CompletionTokens: completion})
		parts = append(parts, human.Dollars(cost))
	}
	if ran := done - s.Earlier; ran > 0 && s.Wall > 0 {
		took := time.Duration(float64(s.Wall) * float64(s.Rows) / float64(ran))
		parts = append(parts, human.Span(took)+" at this rate")
	}
	return fmt.Sprintf("%s; the whole input would take about %s", jobsOf(s.Total, s.Rows), strings.Join(parts, ", "))
}

// rounded rounds an estimate to two digits.
func rounded(n int64) int64 {
	unit := int64(1)
	for n/unit >= 100 {
		unit *= 10
	}
	return (n + unit/2) / unit * unit
}

// promptsText formats the number of results by the version of their prompts.
func promptsText(counts []earlier.PromptCount) string {
	parts := make([]string, len(counts))
	for i, c := range counts {
		of := "of an earlier one"
		switch {
		case c.Now:
			of = "of the present prompt"
		case c.Version == "":
			of = "of an unknown one"
		}
		parts[i] = fmt.Sprintf("%s %s (%s)", human.Plural(c.Results, "result", "results"), of, cmp.Or(c.Version, "not recorded"))
	}
	return strings.Join(parts, ", ")
}

package terminal

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// WriteStatus writes a report for people.
func WriteStatus(w io.Writer, r operation.StatusReport, now time.Time) error {
	c := r.Counts
	p := operation.Progress{Phase: r.Phase, Total: c.Total, Counts: c}
	end := now
	if r.Phase == batch.Done {
		end = r.DoneAt
	}
	age := end.Sub(r.CreatedAt)
	if age > 0 {
		p.Rate = float64(c.Finished()) / age.Seconds()
	}
	total := human.Count(c.Total)
	if c.Total < 0 {
		total = human.Count(c.Fed) + " so far"
		p.Total = c.Fed
	}
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("batch", "%s  %s", r.ID, r.Name)
	line("state", "%s", stateText(r))
	if r.Planning != nil {
		line("planned", "%s", planningText(r.Planning))
	}
	if r.Reduce {
		line("reduced", "%s", reducingText(r))
	}
	line("progress", "%s %s of %s (%s)", bar(p, 30), human.Count(c.Finished()), total, human.Percent(c.Finished(), p.Total))
	line("jobs", "ok %s   failed %s   cancelled %s   running %s   waiting %s",
		human.Count(c.OK), human.Count(c.Failed), human.Count(c.Cancelled), human.Count(c.Running), human.Count(c.Waiting))
	switch {
	case r.State == batch.BatchCancelled && r.Phase == batch.Done:
		line("time", "took %s", human.Span(age))
	case r.Phase == batch.Done:
		line("time", "took %s   %s jobs/s", human.Span(age), human.PerSecond(p.Rate))
	}
	if r.Phase == batch.Done {
		if !r.ExpiresAt.IsZero() {
			line("kept", "for another %s", human.Span(r.ExpiresAt.Sub(now)))
		}
	} else {
		eta := "not known"
		if d, ok := p.ETA(); ok && c.Total >= 0 && r.State.Moves() {
			eta = human.Span(d)
		}
		line("time", "runs for %s   %s jobs/s   ETA %s", human.Span(age), human.PerSecond(p.Rate), eta)
	}
	if text := human.BudgetUse(r.Info); text != "" {
		line("budget", "%s", text)
	}
	if r.Paused {
		line("", "`%s` raises the budget and resumes the batch", raise(r.Info))
	}
	switch {
	case len(r.Models) > 1:
		line("models", "%s", strings.Join(r.Models, ", "))
	case r.Bound != "":
		line("model", "%s", r.Bound)
	}
	line("takeovers", "%s", human.Count(c.Takeovers))
	useLines(line, r.Parts())
	if r.Sharing > 0 {
		line("sharing", "%s", sharingOf(r.Sharing))
	}
	if len(r.Workers) > 0 {
		line("workers", "%d: %s", len(r.Workers), strings.Join(r.Workers, ", "))
	}
	for _, away := range r.Away {
		line("", "%s", away)
	}
	_, err := io.WriteString(w, human.Visible(b.String()))
	return err
}

// stateText returns the batch's state and its reason.
func stateText(r operation.StatusReport) string {
	if r.Reason == "" {
		return string(r.State)
	}
	return string(r.State) + ": " + r.Reason
}

// WriteBatches writes a table of batches, newest first.
func WriteBatches(w io.Writer, infos []operation.Listed, now time.Time) error {
	return table(w, []string{"BATCH", "NAME", "OWNER", "STATE", "JOBS", "OK", "FAILED", "CANCELLED", "AGE"}, len(infos), func(i int) []string {
		b := infos[i]
		jobs := human.Count(b.Counts.Total)
		if b.Counts.Total < 0 {
			jobs = human.Count(b.Counts.Fed) + "+"
		}
		return []string{
			string(b.ID), b.Name, b.Owner, string(b.State), jobs, human.Count(b.Counts.OK), human.Count(b.Counts.Failed),
			human.Count(b.Counts.Cancelled), human.Span(now.Sub(b.CreatedAt)),
		}
	})
}

// WriteWorkers writes a table of workers.
func WriteWorkers(w io.Writer, workers []batch.WorkerRecord) error {
	header := []string{"WORKER", "HOST", "STATE", "ENDPOINT", "MODELS", "TOOLS", "AGENTS", "SLOTS", "QUEUE", "JOBS", "TOKENS/S", "CACHED", "VERSION", "SEEN"}
	return table(w, header, len(workers), func(i int) []string {
		r := workers[i]
		state := string(r.State)
		if r.StateReason != "" && r.State != batch.DrainingWorker {
			state += ": " + r.StateReason
		}
		return []string{
			r.ID, r.Host, state, r.Endpoint, strings.Join(r.Models, ","), strings.Join(specNames(r.Tools), ","),
			fmt.Sprintf("%d/%d", r.LiveAgents, r.MaxAgents), fmt.Sprintf("%d/%d", r.SlotsInUse, r.Slots), human.Count(int64(r.SlotQueue)),
			human.Count(r.JobsDone), human.PerSecond(r.TokensPerSec), human.Percent(r.Usage.CachedTokens, r.Usage.PromptTokens), r.Version,
			r.SeenAt.Format(time.TimeOnly),
		}
	})
}

func table(w io.Writer, header []string, rows int, row func(i int) []string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(cells []string) { fmt.Fprintln(t, strings.Join(cells, "\t")) }
	line(header)
	for i := range rows {
		cells := row(i)
		for j, c := range cells {
			if c = human.FirstLine(c, 60); c == "" {
				c = "-"
			}
			cells[j] = c
		}
		line(cells)
	}
	return t.Flush()
}

// WriteJSON writes v as indented JSON for scripts.
func WriteJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// specNames returns the names of tools as specs write them.
func specNames(tools []string) []string {
	names := make([]string, len(tools))
	for i, t := range tools {
		names[i] = toolpool.SpecName(t)
	}
	return names
}

// reducingText describes the state of the reduction in one line.
func reducingText(r operation.StatusReport) string {
	id := r.ID.ForStage(batch.StageReduce)
	i := slices.IndexFunc(r.Stages, func(s operation.StageUse) bool { return s.Batch == id })
	switch {
	case i < 0:
		return fmt.Sprintf("by %s, which was removed", id)
	case r.Planning != nil && r.Planning.Error != nil:
		return fmt.Sprintf("by %s, which had no results to reduce", id)
	case r.Phase != batch.Done:
		return fmt.Sprintf("by %s, when all jobs have a result", id)
	case r.Stages[i].Phase != batch.Done:
		return fmt.Sprintf("by %s, which is at work", id)
	case r.Stages[i].Failed > 0:
		return fmt.Sprintf("by %s, which FAILED: `coordinator results %s` shows why; `coordinator retry %s` runs it again", id, id, id)
	}
	return fmt.Sprintf("by %s", id)
}

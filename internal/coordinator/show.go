package coordinator

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// StatusReport describes a batch and the workers that can serve it. `status --json` prints its JSON form.
type StatusReport struct {
	batch.Info
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

// Status reads a batch and the workers.
func Status(ctx context.Context, s *statestore.Store, id batch.ID) (StatusReport, error) {
	info, err := s.Info(ctx, id)
	if err != nil {
		return StatusReport{}, err
	}
	workers, err := s.Workers(ctx)
	if err != nil {
		return StatusReport{}, err
	}
	r := StatusReport{Info: info, Sharing: info.Counts.Usage.Sharing(), Workers: serversOf(info, workers)}
	if r.Planning, err = planningOf(ctx, s, info.Header); err != nil {
		return StatusReport{}, err
	}
	if r.Stages, err = stagesOfInfo(ctx, s, info); err != nil {
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

// reducing describes the state of the reduction in one line.
func (r StatusReport) reducing() string {
	id := r.ID.ForStage(batch.StageReduce)
	i := slices.IndexFunc(r.Stages, func(s StageUse) bool { return s.Batch == id })
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

// WriteStatus writes a report for people.
func WriteStatus(w io.Writer, r StatusReport, now time.Time) error {
	c := r.Counts
	p := Progress{Phase: r.Phase, Total: c.Total, Counts: c}
	end := now
	if r.Phase == batch.Done {
		end = r.DoneAt
	}
	age := end.Sub(r.CreatedAt)
	if age > 0 {
		p.Rate = float64(c.Finished()) / age.Seconds()
	}
	total := count(c.Total)
	if c.Total < 0 {
		total = count(c.Fed) + " so far"
		p.Total = c.Fed
	}
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("batch", "%s  %s", r.ID, r.Name)
	line("state", "%s", r.said())
	if r.Planning != nil {
		line("planned", "%s", r.Planning.says())
	}
	if r.Reduce {
		line("reduced", "%s", r.reducing())
	}
	line("progress", "%s %s of %s (%s)", p.Bar(30), count(c.Finished()), total, percent(c.Finished(), p.Total))
	line("jobs", "ok %s   failed %s   cancelled %s   running %s   waiting %s",
		count(c.OK), count(c.Failed), count(c.Cancelled), count(c.Running), count(c.Waiting))
	switch {
	case r.State == batch.BatchCancelled && r.Phase == batch.Done:
		line("time", "took %s", span(age))
	case r.Phase == batch.Done:
		line("time", "took %s   %s jobs/s", span(age), perSecond(p.Rate))
	}
	if r.Phase == batch.Done {
		if !r.ExpiresAt.IsZero() {
			line("kept", "for another %s", span(r.ExpiresAt.Sub(now)))
		}
	} else {
		eta := "not known"
		if d, ok := p.ETA(); ok && c.Total >= 0 && r.State.Moves() {
			eta = span(d)
		}
		line("time", "runs for %s   %s jobs/s   ETA %s", span(age), perSecond(p.Rate), eta)
	}
	if text := BudgetLine(r.Info); text != "" {
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
	line("takeovers", "%s", count(c.Takeovers))
	useLines(line, r.parts())
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

// said returns the batch's state and its reason.
func (r StatusReport) said() string {
	if r.Reason == "" {
		return string(r.State)
	}
	return string(r.State) + ": " + r.Reason
}

// WriteBatches writes a table of batches, newest first.
func WriteBatches(w io.Writer, infos []Listed, now time.Time) error {
	return table(w, []string{"BATCH", "NAME", "OWNER", "STATE", "JOBS", "OK", "FAILED", "CANCELLED", "AGE"}, len(infos), func(i int) []string {
		b := infos[i]
		jobs := count(b.Counts.Total)
		if b.Counts.Total < 0 {
			jobs = count(b.Counts.Fed) + "+"
		}
		return []string{
			string(b.ID), b.Name, b.Owner, string(b.State), jobs, count(b.Counts.OK), count(b.Counts.Failed),
			count(b.Counts.Cancelled), span(now.Sub(b.CreatedAt)),
		}
	})
}

// WriteWorkers writes a table of workers.
func WriteWorkers(w io.Writer, workers []batch.WorkerRecord) error {
	header := []string{"WORKER", "HOST", "STATE", "ENDPOINT", "MODELS", "TOOLS", "AGENTS", "SLOTS", "QUEUE", "JOBS", "TOKENS/S", "CACHED", "VERSION", "SEEN"}
	return table(w, header, len(workers), func(i int) []string {
		r := workers[i]
		said := string(r.State)
		if r.StateReason != "" && r.State != batch.DrainingWorker {
			said += ": " + r.StateReason
		}
		return []string{
			r.ID, r.Host, said, r.Endpoint, strings.Join(r.Models, ","), strings.Join(specNames(r.Tools), ","),
			fmt.Sprintf("%d/%d", r.LiveAgents, r.MaxAgents), fmt.Sprintf("%d/%d", r.SlotsInUse, r.Slots), count(int64(r.SlotQueue)),
			count(r.JobsDone), perSecond(r.TokensPerSec), percent(r.Usage.CachedTokens, r.Usage.PromptTokens), r.Version,
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
			if c = firstLine(c, 60); c == "" {
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

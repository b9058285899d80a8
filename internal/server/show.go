package server

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// batchesShown is the number of batches on the first page.
const batchesShown = 50

func specName(wire string) string { return toolpool.SpecName(wire) }

// row is a batch on the first page, with its stages.
type row struct {
	Listed
	Stages []Listed
}

// overview is the content of the first page.
type overview struct {
	Batches []row
	Live    int  // workers that are not lost
	Full    bool // more batches may exist than are shown
	Running int64
	Rate    float64
	Tokens  float64
}

func (s *Server) showBatches(r *http.Request) (string, any, error) {
	ctx, cancel := context.WithTimeout(r.Context(), lookTimeout)
	defer cancel()
	list, err := s.newest(ctx, batchesShown)
	if err != nil {
		return "", nil, err
	}
	workers, err := s.workers(ctx)
	if err != nil {
		return "", nil, err
	}
	o := overview{Batches: grouped(list.Batches), Live: len(batch.Live(workers)), Full: len(list.Batches) == batchesShown}
	for _, b := range list.Batches {
		if b.Phase != batch.Done {
			o.Running += b.Counts.Running
			o.Rate += b.Rate
		}
	}
	for _, w := range batch.Live(workers) {
		o.Tokens += w.TokensPerSec
	}
	return "Batches", o, nil
}

// grouped moves the stages of a batch into its row. A stage keeps its own row if its batch is not in the list.
func grouped(list []Listed) []row {
	at := map[batch.ID]int{}
	rows := make([]row, 0, len(list))
	for _, b := range list {
		if b.ID.Whole() == b.ID {
			at[b.ID] = len(rows)
			rows = append(rows, row{Listed: b})
		} else if !slices.ContainsFunc(list, func(o Listed) bool { return o.ID == b.ID.Whole() }) {
			rows = append(rows, row{Listed: b})
		}
	}
	for _, b := range list {
		if i, ok := at[b.ID.Whole()]; ok && b.ID.Whole() != b.ID {
			rows[i].Stages = append(rows[i].Stages, b)
		}
	}
	for _, r := range rows { // "plan" comes before "reduce"
		slices.SortFunc(r.Stages, func(a, b Listed) int { return strings.Compare(string(a.ID), string(b.ID)) })
	}
	return rows
}

// stageName returns the stage that an ID names; "" for a batch.
func stageName(id batch.ID) string {
	if id.Stage() == batch.StageJobs {
		return ""
	}
	return string(id.Stage())
}

// failureType is the number of jobs with one type of error.
type failureType struct {
	Type batch.ErrorType
	Jobs int64
}

// whole is the content of a batch's page.
type whole struct {
	BatchView
	Sums     Sums
	Types    []failureType // most frequent first
	Course   *chart        // nil if it has fewer than two points
	Spread   []column
	Times    *timesView // nil if no result has times
	CanRetry bool
}

func (s *Server) showBatch(r *http.Request) (string, any, error) {
	ctx, cancel := context.WithTimeout(r.Context(), lookTimeout)
	defer cancel()
	id, err := s.batchOf(ctx, r)
	if err != nil {
		return "", nil, err
	}
	v, err := s.view(ctx, id)
	if err != nil {
		return "", nil, err
	}
	sums, err := s.sums(ctx, id)
	if err != nil {
		return "", nil, err
	}
	p := whole{BatchView: v, Sums: sums, Course: chartOf(s.courses.course(id), v.Counts.Total), Spread: columnsOf(sums.Spread),
		Times: timesOf(sums.Tally, v.StatusReport)}
	p.CanRetry = v.Counts.Failed > 0 && (v.Phase == batch.Done || v.Phase == batch.Sealed)
	for t, n := range sums.Tally.ByType {
		p.Types = append(p.Types, failureType{t, n})
	}
	slices.SortFunc(p.Types, func(a, b failureType) int {
		return cmp.Or(cmp.Compare(b.Jobs, a.Jobs), strings.Compare(string(a.Type), string(b.Type)))
	})
	return cmp.Or(v.Name, string(id)), p, nil
}

// transcript is the content of a job's page.
type transcript struct {
	JobView
	Result *batch.Result // nil if unknown
}

func (s *Server) showJob(r *http.Request) (string, any, error) {
	v, err := s.jobView(r)
	if err != nil {
		return "", nil, err
	}
	t := transcript{JobView: v}
	if v.Result != nil {
		t.Result = &batch.Result{}
		if err := json.Unmarshal(v.Result, t.Result); err != nil {
			return "", nil, fmt.Errorf("decode the result of %s: %w", v.JobID, err)
		}
	}
	return v.JobID, t, nil
}

func (s *Server) showWorkers(r *http.Request) (string, any, error) {
	workers, err := s.workers(r.Context())
	return "Workers", workers, err
}

// toolbox is the content of the tools page.
type toolbox struct {
	Tools   []Tool
	Counts  batch.ToolCounts // of the listed batches
	Batches []Listed         // that called tools
}

func (s *Server) showTools(r *http.Request) (string, any, error) {
	ctx, cancel := context.WithTimeout(r.Context(), lookTimeout)
	defer cancel()
	workers, err := s.workers(ctx)
	if err != nil {
		return "", nil, err
	}
	list, err := s.newest(ctx, batchesShown)
	if err != nil {
		return "", nil, err
	}
	t := toolbox{Tools: toolsOf(batch.Live(workers))}
	for _, b := range list.Batches {
		if b.Counts.Tools.Asked > 0 {
			t.Batches = append(t.Batches, b)
			t.Counts.Add(b.Counts.Tools)
		}
	}
	return "Tools", t, nil
}

// excerpt returns the beginning of a text as one line.
func excerpt(text string, n int) string { return human.FirstLine(text, n) }

// barPart is one segment of a bar, in percent of its width.
type barPart struct {
	Class    string
	From, Of float64
}

// barView is a bar and its text for screen readers.
type barView struct {
	Label string
	Parts []barPart
}

// progressBar shows a batch's jobs by their state.
func progressBar(c batch.Counts) barView {
	total := c.Total
	if total < 0 {
		total = c.Fed
	}
	b := barView{Label: fmt.Sprintf("%s of %s jobs ended", human.Count(c.Finished()), human.Count(total))}
	from := 0.0
	for _, p := range []struct {
		class string
		n     int64
	}{{"ok", c.OK}, {"failed", c.Failed}, {"cancelled", c.Cancelled}, {"running", c.Running}} {
		if p.n > 0 && total > 0 {
			of := 100 * float64(p.n) / float64(total)
			b.Parts = append(b.Parts, barPart{p.class, from, of})
			from += of
		}
	}
	return b
}

// gauge shows the used part of a capacity.
func gauge(what string, used, of int64) barView {
	b := barView{Label: fmt.Sprintf("%s of %s %s", human.Count(used), human.Count(of), what)}
	if used > 0 && of > 0 {
		b.Parts = []barPart{{"used", 0, min(100, 100*float64(used)/float64(of))}}
	}
	return b
}

// chart is the history of a batch as lines in a box of chartWidth by chartHeight.
type chart struct {
	Done, Failed string // points of an area and a line
	From, To     time.Time
	Label        string
	Top          int64
}

const chartWidth, chartHeight = 600.0, 120.0

// chartOf draws the number of ended jobs over time.
func chartOf(course []point, total int64) *chart {
	if len(course) < 2 {
		return nil
	}
	first, last := course[0], course[len(course)-1]
	wide := last.At.Sub(first.At).Seconds()
	top := max(total, last.finished(), 1)
	if wide <= 0 {
		return nil
	}
	c := &chart{From: first.At, To: last.At, Top: top,
		Label: fmt.Sprintf("%s of %s jobs ended within %s", human.Count(last.finished()), human.Count(top), human.Span(last.At.Sub(first.At)))}
	var done, failed strings.Builder
	fmt.Fprintf(&done, "0,%g", chartHeight)
	for _, p := range course {
		x := chartWidth * p.At.Sub(first.At).Seconds() / wide
		y := func(n int64) float64 { return chartHeight * (1 - float64(n)/float64(top)) }
		fmt.Fprintf(&done, " %.1f,%.1f", x, y(p.finished()))
		fmt.Fprintf(&failed, "%.1f,%.1f ", x, y(p.Failed))
	}
	fmt.Fprintf(&done, " %g,%g", chartWidth, chartHeight)
	c.Done = done.String()
	if last.Failed > 0 {
		c.Failed = strings.TrimSpace(failed.String())
	}
	return c
}

// column is one range of durations.
type column struct {
	Label string
	Jobs  int64
	Bar   barView
}

// columnsOf draws the durations of jobs, from the first non-empty range to the last one.
func columnsOf(spread []Spread) []column {
	var most int64
	first, last := -1, -1
	for i, s := range spread {
		if s.Jobs > 0 {
			if first < 0 {
				first = i
			}
			last = i
			most = max(most, s.Jobs)
		}
	}
	if first < 0 {
		return nil
	}
	var out []column
	for _, s := range spread[first : last+1] {
		label := "longer"
		if s.Below > 0 {
			label = "below " + shortSpan(s.Below)
		}
		out = append(out, column{Label: label, Jobs: s.Jobs, Bar: gauge("jobs", s.Jobs, most)})
	}
	return out
}

// shortSpan formats a round duration: 100 ms, 3 s, 5 min.
func shortSpan(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d/time.Millisecond)
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	default:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
}

package diagnose

import (
	"cmp"
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/internal/outage"
	"github.com/batchagent/batchagent/pkg/batch"
)

// slowestShown is the number of jobs that an explanation lists.
const slowestShown = 5

// Explanation reports where the agents of a batch spent their time. `explain --json` prints its JSON form.
type Explanation struct {
	Batch           batch.ID    `json:"batch"`
	Phase           batch.Phase `json:"phase,omitempty"` // "" if only a results file was read
	batch.Condition             // zero if only a results file was read
	Jobs            int64       `json:"jobs"`     // results read; a retried job counts twice
	Timed           int64       `json:"timed"`    // of these, results with times
	WallMS          int64       `json:"wall_ms"`  // sum over all timed attempts
	Times           batch.Times `json:"times_ms"` // of the same attempts
	Usage           batch.Usage `json:"usage"`
	Sharing         float64     `json:"sharing,omitempty"`  // see [batch.Usage.Sharing]; 0 if unknown
	TakesMS         int64       `json:"takes_ms,omitempty"` // from the batch's creation to its end, or to now
	Agents          float64     `json:"agents"`             // average number at a time; 0 if TakesMS is unknown
	Nodes           []Node      `json:"workers"`            // sorted by ID
	Slowest         []SlowJob   `json:"slowest"`            // slowest first
	Bound           Bound       `json:"bound"`
	Preload         *Preload    `json:"preload,omitempty"` // nil unless it is recommended
}

// Preload is a call that most agents make in their first turn, and that a spec may preload.
type Preload struct {
	batch.FirstCall
	Jobs int64 `json:"jobs"` // jobs that made it, of Of jobs
	Of   int64 `json:"of"`
}

// Node is the share of one worker in a batch.
type Node struct {
	Worker string           `json:"worker"`
	Jobs   int64            `json:"jobs"`
	Turns  int64            `json:"turns"`
	Usage  batch.Usage      `json:"usage"`
	Tools  batch.ToolCounts `json:"tools"`
}

// SlowJob is one of the slowest jobs.
type SlowJob struct {
	JobID  string      `json:"job_id"`
	Worker string      `json:"worker"`
	WallMS int64       `json:"wall_ms"`
	Times  batch.Times `json:"times_ms"`
}

// explainer is a place that explains its batches itself, so that their results are not sent.
type explainer interface {
	Explain(ctx context.Context, id batch.ID) (Explanation, error)
}

// Explain reads the results of a batch and sums up their times.
func Explain(ctx context.Context, b operation.Batches, id batch.ID, notify notice.Func) (Explanation, error) {
	if e, ok := b.(explainer); ok {
		return e.Explain(ctx, id)
	}
	c := &collect.Collector{Store: b, ID: id, Wait: outage.Wait{Store: b, Notify: notify}}
	var status operation.StatusReport
	err := c.Wait.Do(ctx, func() (err error) {
		status, err = b.Status(ctx, id)
		return err
	})
	if err != nil {
		return Explanation{}, err
	}
	a := newAnatomy()
	c.Sink = a
	if err := c.Drain(ctx); err != nil {
		return Explanation{}, err
	}
	end := time.Now()
	if status.Phase == batch.Done {
		end = status.DoneAt
	}
	e := a.explanation(id, end.Sub(status.CreatedAt))
	e.Phase, e.Condition = status.Phase, status.Condition
	e.Bound = boundOf(e, &status)
	return e, nil
}

// ExplainFile explains the results in a results file.
func ExplainFile(path string) (Explanation, error) {
	f, err := os.Open(path)
	if err != nil {
		return Explanation{}, fault.Usagef("--results: %w", err)
	}
	defer f.Close()
	a := newAnatomy()
	var id batch.ID
	_, err = collect.JSONL{}.Scan(f, func(r batch.Result, _, _ int64) error {
		id = r.Batch
		a.add(r)
		return nil
	})
	if err != nil {
		return Explanation{}, fault.Usagef("--results: %s: %w", path, err)
	}
	e := a.explanation(id, 0)
	e.Bound = boundOf(e, nil)
	return e, nil
}

// anatomy sums up results. It is a [sink]. Its memory grows only with the number of workers.
type anatomy struct {
	tally   collect.Tally
	jobs    int64
	timed   int64
	slowest []SlowJob
	nodes   map[string]*Node
	first   firstCalls
}

func newAnatomy() *anatomy { return &anatomy{nodes: map[string]*Node{}} }

// Has implements [sink].
func (*anatomy) Has(batch.Result) bool { return false }

// Write implements [sink].
func (a *anatomy) Write(results []batch.Result, _ [][]byte) error {
	for _, r := range results {
		a.add(r)
	}
	return nil
}

func (a *anatomy) add(r batch.Result) {
	a.jobs++
	a.tally.Add(r)
	a.first.add(r)
	if r.Worker != "" {
		n := a.nodes[r.Worker]
		if n == nil {
			n = &Node{Worker: r.Worker}
			a.nodes[r.Worker] = n
		}
		n.Jobs++
		n.Turns += int64(r.Turns)
		n.Usage.Add(r.Usage)
		n.Tools.Add(r.Tools)
	}
	if !r.Times.Timed() {
		return
	}
	a.timed++
	slow := append(a.slowest, SlowJob{JobID: r.JobID, Worker: r.Worker, WallMS: r.WallMS, Times: r.Times})
	slices.SortStableFunc(slow, func(x, y SlowJob) int { return cmp.Compare(y.WallMS, x.WallMS) })
	a.slowest = slow[:min(len(slow), slowestShown)]
}

func (a *anatomy) explanation(id batch.ID, takes time.Duration) Explanation {
	e := Explanation{
		Batch: id, Jobs: a.jobs, Timed: a.timed, WallMS: a.tally.WallMS, Times: a.tally.Times, Usage: a.tally.Usage, TakesMS: takes.Milliseconds(),
		Sharing: a.tally.Usage.Sharing(), Slowest: a.slowest,
	}
	if takes > 0 {
		e.Agents = float64(e.WallMS) / float64(takes.Milliseconds()+1)
	}
	e.Preload = a.first.recommended()
	e.Nodes = []Node{}
	for _, n := range a.nodes {
		e.Nodes = append(e.Nodes, *n)
	}
	slices.SortFunc(e.Nodes, func(x, y Node) int { return strings.Compare(x.Worker, y.Worker) })
	return e
}

var PartNames = map[string]string{
	"held": "held by admission", "slot": "waiting for a slot", "prefill_cold": "first token, cold", "prefill_cached": "first token, cached",
	"decode": "decode", "tools": "tools", "tools_shared": "tools run for others", "retry": "failed calls", "journal": "journal", "program": "program",
	OwnPart: "batchagent itself",
}

const OwnPart = "own"

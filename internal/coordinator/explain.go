package coordinator

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
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

// Explain reads the results of a batch from Redis.
func Explain(ctx context.Context, s *statestore.Store, id batch.ID, con *Console) (Explanation, error) {
	c := &collector{store: s, id: id, patience: patience{store: s, say: con.Say}}
	var status StatusReport
	err := c.patience.do(ctx, func() (err error) {
		status, err = Status(ctx, s, id)
		return err
	})
	if err != nil {
		return Explanation{}, err
	}
	a := newAnatomy()
	c.sink = a
	if err := c.drain(ctx); err != nil {
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
		return Explanation{}, usagef("--results: %w", err)
	}
	defer f.Close()
	a := newAnatomy()
	var id batch.ID
	_, err = jsonl{}.scan(f, func(r batch.Result, _, _ int64) error {
		id = r.Batch
		a.add(r)
		return nil
	})
	if err != nil {
		return Explanation{}, usagef("--results: %s: %w", path, err)
	}
	e := a.explanation(id, 0)
	e.Bound = boundOf(e, nil)
	return e, nil
}

// anatomy sums up results. It is a [sink]. Its memory grows only with the number of workers.
type anatomy struct {
	tally   Tally
	jobs    int64
	timed   int64
	slowest []SlowJob
	nodes   map[string]*Node
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
	e.Nodes = []Node{}
	for _, n := range a.nodes {
		e.Nodes = append(e.Nodes, *n)
	}
	slices.SortFunc(e.Nodes, func(x, y Node) int { return strings.Compare(x.Worker, y.Worker) })
	return e
}

// own returns the time of batchagent itself, which is the rest of WallMS.
func (e Explanation) own() int64 { return max(0, e.WallMS-e.Times.Sum().Milliseconds()) }

var partNames = map[string]string{
	"held": "held by admission", "slot": "waiting for a slot", "prefill_cold": "first token, cold", "prefill_cached": "first token, cached",
	"decode": "decode", "tools": "tools", "tools_shared": "tools run for others", "retry": "failed calls", "journal": "journal",
	ownPart: "batchagent itself",
}

const ownPart = "own"

// WriteExplanation writes e for people.
func WriteExplanation(w io.Writer, e Explanation) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("batch", "%s", strings.TrimSpace(fmt.Sprintf("%s  %s", e.Batch, e.State)))
	line("jobs", "%s with a result", count(e.Jobs))
	if e.Agents > 0 {
		line("agents", "%.1f at a time on average, over %s", e.Agents, span(time.Duration(e.TakesMS)*time.Millisecond))
	}
	line("prefill", "%s of %s prompt tokens were in the server's cache",
		percent(e.Usage.CachedTokens, e.Usage.PromptTokens), count(e.Usage.PromptTokens))
	if e.Sharing > 0 {
		line("sharing", "%s", sharingOf(e.Sharing))
	}
	if q := queuedEach(e.Times.Queued, e.Jobs); q > 0 {
		line("queued", "%s a job on average in Redis, before a worker took it; not part of the times below. More", span(q))
		line("", "agents at once (worker --max-agents, --max-inflight) or more workers shorten it, unless the limit named below holds them back")
	}
	if e.Timed > 0 {
		fmt.Fprintf(&b, "\nwhere the time of %s went, %s together\n", plural(e.Timed, "job", "jobs"), span(time.Duration(e.WallMS)*time.Millisecond))
		for _, p := range append(e.Times.Parts(), batch.Part{Name: ownPart, MS: e.own()}) {
			if p.MS > 0 {
				fmt.Fprintf(&b, "  %-22s %4s %s %s\n", partNames[p.Name], percent(p.MS, e.WallMS), bar(p.MS, e.WallMS, 30), span(time.Duration(p.MS)*time.Millisecond))
			}
		}
	}
	fmt.Fprintf(&b, "\n%-10s %s\n%-10s %s\n", "bound by", e.Bound.By, "to change", e.Bound.Knob)
	if len(e.Slowest) > 0 {
		b.WriteString("\nslowest jobs\n")
		for _, j := range e.Slowest {
			most := slices.MaxFunc(j.Times.Parts(), func(x, y batch.Part) int { return cmp.Compare(x.MS, y.MS) })
			fmt.Fprintf(&b, "  %-10s %8s   %s %s   on %s\n", j.JobID, span(time.Duration(j.WallMS)*time.Millisecond),
				span(time.Duration(most.MS)*time.Millisecond), partNames[most.Name], j.Worker)
		}
	}
	b.WriteString("\n")
	if _, err := io.WriteString(w, human.Visible(b.String())); err != nil {
		return err
	}
	return table(w, []string{"WORKER", "JOBS", "TURNS", "PROMPT TOKENS", "CACHED", "COMPLETION TOKENS", "TOOLS ASKED", "EXECUTED"}, len(e.Nodes), func(i int) []string {
		n := e.Nodes[i]
		return []string{
			n.Worker, count(n.Jobs), count(n.Turns), count(n.Usage.PromptTokens), percent(n.Usage.CachedTokens, n.Usage.PromptTokens),
			count(n.Usage.CompletionTokens), count(n.Tools.Asked), count(n.Tools.Executed),
		}
	})
}

// sharingOf describes [batch.Usage.Sharing] to people.
func sharingOf(ratio float64) string {
	said := fmt.Sprintf("%.2fx: tokens if every agent held its own copy, over tokens computed", ratio)
	if ratio < 0.995 {
		said += "; below 1, because more tokens were recomputed than shared"
	}
	return said
}

// queuedEach returns the average time that a job waited in Redis.
func queuedEach(ms, jobs int64) time.Duration {
	return time.Duration(ms/max(jobs, 1)) * time.Millisecond
}

func bar(part, whole int64, width int) string {
	full := 0
	if whole > 0 {
		full = int(min(int64(width), (part*int64(width)+whole/2)/whole))
	}
	return strings.Repeat("#", full) + strings.Repeat(" ", width-full)
}

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// watch checks the pending entries several times per second. It returns the longest time for which a leased job had no sign of
// its holder.
func (c *cluster) watch(ctx context.Context) (longest time.Duration) {
	for sleep.For(ctx, 250*time.Millisecond) == nil {
		for _, b := range c.batches {
			longest = max(longest, c.idle(ctx, b.known()))
		}
	}
	return longest
}

// idle returns the age of the oldest lease of a batch, by Redis' clock.
func (c *cluster) idle(ctx context.Context, id string) (oldest time.Duration) {
	if id == "" {
		return 0
	}
	held, err := c.admin.HGetAll(ctx, "ba:{"+id+"}:lease").Result()
	if err != nil {
		return 0
	}
	rows, err := c.admin.Do(ctx, "XPENDING", "ba:{"+id+"}:jobs", "workers", "IDLE", c.lease.Milliseconds(), "-", "+", 1000).Slice()
	if err != nil {
		return 0
	}
	for _, row := range rows {
		f, ok := row.([]any)
		if !ok || len(f) < 3 {
			continue
		}
		index, _, _ := strings.Cut(fmt.Sprint(f[0]), "-")
		n, _ := strconv.Atoi(index)
		if strings.HasSuffix(held[strconv.Itoa(n-1)], "|-") {
			continue // handed back: it has no holder
		}
		if ms, ok := f[2].(int64); ok {
			oldest = max(oldest, time.Duration(ms)*time.Millisecond)
		}
	}
	return oldest
}

// verdict is the comparison of inputs, Redis and files.
type verdict struct {
	jobs, lost, doubled             int // in Redis
	lostInFile, doubledInFile, torn int
	byType                          map[batch.ErrorType]int
	messages                        map[batch.ErrorType]string // of the last such failure
	turns, takeovers                int64
	asked                           int64
	wrongTurns                      int // jobs with an output and an unexpected number of turns
	more                            int // jobs with more than one attempt
	batches                         int // in Redis
	executions                      int // recorded by the tool
	mostExecutions                  int // of them, those of one call
	notes                           int // that the jobs name: the ideal number of executions
	replayed                        int // calls of programs that were answered from the journal
	diverged                        int // programs that made other calls than before
}

func (v verdict) good() bool {
	return v.lost+v.doubled+v.lostInFile+v.doubledInFile+v.torn+v.wrongTurns+v.diverged == 0
}

func (c *cluster) judge(ctx context.Context) (v verdict, err error) {
	v.byType, v.messages = map[batch.ErrorType]int{}, map[batch.ErrorType]string{}
	store, err := statestore.Open(ctx, "redis://"+c.redis.name, statestore.Options{})
	if err != nil {
		return v, err
	}
	defer store.Close()
	for _, b := range c.batches {
		v.jobs += b.jobs
		v.notes = max(v.notes, min(b.jobs, documents))
		id := batch.ID(b.known())
		if id == "" {
			v.lost += b.jobs
			continue
		}
		info, err := store.Info(ctx, id)
		if err != nil {
			return v, err
		}
		v.turns += info.Counts.Turns
		v.takeovers += info.Counts.Takeovers
		v.asked += info.Counts.Tools.Asked
		if err := v.inRedis(ctx, store, id, b.jobs); err != nil {
			return v, err
		}
		if err := v.inFile(b.results, b.jobs, b.turns); err != nil {
			return v, err
		}
	}
	list, err := store.List(ctx)
	if err != nil {
		return v, err
	}
	v.batches = len(list)
	return v, v.tools(c.executions())
}

// tools counts the executions that the tool recorded, one in each line.
func (v *verdict) tools(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the executions of the tool: %w", err)
	}
	of := map[string]int{}
	for line := range strings.Lines(string(text)) {
		v.executions++
		of[line]++
		v.mostExecutions = max(v.mostExecutions, of[line])
	}
	return nil
}

func (v *verdict) inRedis(ctx context.Context, store *statestore.Store, id batch.ID, jobs int) error {
	seen := make([]int, jobs)
	for after := int64(0); ; {
		entries, err := store.Results(ctx, id, after, 1000)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			seen[e.Index]++
			after = e.Cursor
		}
	}
	lost, doubled := tally(seen)
	v.lost, v.doubled = v.lost+lost, v.doubled+doubled
	return nil
}

func (v *verdict) inFile(path string, jobs, turns int) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the results: %w", err)
	}
	defer f.Close()
	seen := make([]int, jobs)
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r batch.Result
		if json.Unmarshal(lines.Bytes(), &r) != nil || r.Index < 0 || r.Index >= int64(jobs) {
			v.torn++
			continue
		}
		seen[r.Index]++
		if r.Attempts > 1 {
			v.more++
		}
		v.replayed += r.Replayed
		if r.DivergedAt != 0 && r.Error == nil { // a program that fails has not made all calls
			v.diverged++
		}
		switch {
		case r.Error != nil:
			v.byType[r.Error.Type]++
			v.messages[r.Error.Type] = r.Error.Message
		case r.Turns != turns:
			v.wrongTurns++
		}
	}
	lost, doubled := tally(seen)
	v.lostInFile, v.doubledInFile = v.lostInFile+lost, v.doubledInFile+doubled
	return lines.Err()
}

func tally(seen []int) (lost, doubled int) {
	for _, n := range seen {
		switch {
		case n == 0:
			lost++
		case n > 1:
			doubled++
		}
	}
	return lost, doubled
}

// report is the result of a run.
type report struct {
	verdict
	faults          map[kind]int
	storm, calm     time.Duration // duration of the faults, and from their end to the end of all batches
	ended           bool
	longestTakeover time.Duration
	twice           int // answers beyond the first one of each turn
	most            int // of them, those of one job
	programs        bool
	processes       int      // of programs, after the end of their workers
	files           []string // that programs left
	calls, whole    int
	refused         int
}

// good reports whether the run had no error. A fault may cost each program one model call, and one execution of each tool call.
func (r report) good() bool {
	faults := 0
	for _, n := range r.faults {
		faults += n
	}
	if r.programs && (r.processes+len(r.files) > 0 || r.most > faults || r.mostExecutions-1 > faults || len(r.byType) > 0) {
		return false
	}
	return r.ended && r.verdict.good()
}

func (r report) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	total := 0
	for _, k := range slices.Sorted(maps.Keys(r.faults)) {
		fmt.Fprintf(t, "%s\t%d\n", k, r.faults[k])
		total += r.faults[k]
	}
	fmt.Fprintf(t, "faults\t%d in %s\n\t\n", total, r.storm.Round(time.Second))
	fmt.Fprintf(t, "jobs\t%d in %d batches, all ended: %v, %s after the faults\n", r.jobs, batches, r.ended, r.calm.Round(time.Second))
	fmt.Fprintf(t, "jobs lost\t%d in Redis, %d in the files\n", r.lost, r.lostInFile)
	fmt.Fprintf(t, "jobs doubled\t%d in Redis, %d in the files\n", r.doubled, r.doubledInFile)
	fmt.Fprintf(t, "torn lines\t%d\n", r.torn)
	fmt.Fprintf(t, "jobs with a wrong number of turns\t%d\n", r.wrongTurns)
	for _, e := range slices.Sorted(maps.Keys(r.byType)) {
		fmt.Fprintf(t, "jobs failed as %s\t%d, such as %.200q\n", e, r.byType[e], r.messages[e])
	}
	if n := r.batches - batches; n > 0 {
		fmt.Fprintf(t, "batches submitted twice\t%d, by feeders killed after their last step\n", n)
	}
	fmt.Fprintf(t, "turns\t%d committed; %d model calls: %d answered completely, %d refused\n", r.turns, r.calls, r.whole, r.refused)
	fmt.Fprintf(t, "turns executed twice\t%d, at most %d of a job\n", r.twice, r.most)
	if r.programs {
		fmt.Fprintf(t, "calls answered from the journal\t%d; programs that diverged: %d\n", r.replayed, r.diverged)
		fmt.Fprintf(t, "left by programs\t%d processes, %d files %v\n", r.processes, len(r.files), r.files)
	}
	fmt.Fprintf(t, "takeovers\t%d\n", r.takeovers)
	fmt.Fprintf(t, "longest takeover\t%s\n", r.longestTakeover.Round(10*time.Millisecond))
	fmt.Fprintf(t, "tool executions over the ideal\t%d: %d for %d calls of %d kinds, at most %d of a kind\n", r.executions-r.notes, r.executions, r.asked, r.notes, r.mostExecutions)
	_ = t.Flush()
}

func countLines(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n := 0
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		n++
	}
	return n, lines.Err()
}

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// observed is what was seen while the cluster ran.
type observed struct {
	modelCalls  int           // that a simulator finished, as far as it lived to tell
	longestIdle time.Duration // longest time that a leased job went without a sign of its holder
}

// watch looks at the simulators' counters and at the pending entries lists, a few times a second.
func (c *cluster) watch(ctx context.Context) (o observed) {
	last := make([]int, simulators)
	for wait(ctx, 250*time.Millisecond) {
		for i, s := range c.sims {
			n, err := finishedCalls(ctx, s.name)
			if err != nil {
				continue
			}
			if n < last[i] {
				last[i] = 0 // it was started again
			}
			o.modelCalls += n - last[i]
			last[i] = n
		}
		for _, b := range c.batches {
			o.longestIdle = max(o.longestIdle, c.idle(ctx, b.known()))
		}
	}
	return o
}

// idle is the age of the oldest lease of a batch, by Redis' clock.
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
			continue // handed back: it waits for nobody
		}
		if ms, ok := f[2].(int64); ok {
			oldest = max(oldest, time.Duration(ms)*time.Millisecond)
		}
	}
	return oldest
}

func finishedCalls(ctx context.Context, address string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	total := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "vllm:request_success_total{") && (strings.Contains(line, `"stop"`) || strings.Contains(line, `"length"`)) {
			f := strings.Fields(line)
			n, _ := strconv.ParseFloat(f[len(f)-1], 64)
			total += int(n)
		}
	}
	return total, nil
}

// verdict compares inputs, Redis and files.
type verdict struct {
	jobs, lost, doubled             int // in Redis
	lostInFile, doubledInFile, torn int
	byType                          map[batch.ErrorType]int
	turns, takeovers                int64
	asked, executed                 int64
}

func (v verdict) good() bool {
	return v.lost+v.doubled+v.lostInFile+v.doubledInFile+v.torn == 0
}

func (c *cluster) judge(ctx context.Context) (v verdict, err error) {
	v.byType = map[batch.ErrorType]int{}
	store, err := statestore.Open(ctx, "redis://"+c.redis.name, statestore.Options{})
	if err != nil {
		return v, err
	}
	defer store.Close()
	for _, b := range c.batches {
		v.jobs += b.jobs
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
		v.executed += info.Counts.Tools.Executed
		if err := v.inRedis(ctx, store, id, b.jobs); err != nil {
			return v, err
		}
		if err := v.inFile(b.results, b.jobs); err != nil {
			return v, err
		}
	}
	return v, nil
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

func (v *verdict) inFile(path string, jobs int) error {
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
		if r.Error != nil {
			v.byType[r.Error.Type]++
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

func (v verdict) print(w io.Writer, faults map[kind]int, o observed, ended bool, storm, calm time.Duration) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	total := 0
	for _, k := range slices.Sorted(maps.Keys(faults)) {
		fmt.Fprintf(t, "%s\t%d\n", k, faults[k])
		total += faults[k]
	}
	fmt.Fprintf(t, "faults\t%d in %s\n", total, storm.Round(time.Second))
	fmt.Fprintf(t, "\t\n")
	fmt.Fprintf(t, "jobs\t%d, all ended %v, %s after the faults\n", v.jobs, ended, calm.Round(time.Second))
	fmt.Fprintf(t, "lost\t%d in Redis, %d in the files\n", v.lost, v.lostInFile)
	fmt.Fprintf(t, "doubled\t%d in Redis, %d in the files\n", v.doubled, v.doubledInFile)
	fmt.Fprintf(t, "torn lines\t%d\n", v.torn)
	for _, e := range slices.Sorted(maps.Keys(v.byType)) {
		fmt.Fprintf(t, "failed as %s\t%d\n", e, v.byType[e])
	}
	fmt.Fprintf(t, "turns\t%d committed; %d model calls ended, so at least %d were for nothing\n", v.turns, o.modelCalls, max(0, int64(o.modelCalls)-v.turns))
	fmt.Fprintf(t, "takeovers\t%d\n", v.takeovers)
	fmt.Fprintf(t, "longest without a holder\t%s\n", o.longestIdle.Round(10*time.Millisecond))
	fmt.Fprintf(t, "tool calls\t%d asked, %d executed, %d different\n", v.asked, v.executed, documents)
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

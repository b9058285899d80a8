package terminal

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/diagnose"
	"github.com/batchagent/batchagent/internal/earlier"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// Summary is the report at the end of a batch.
type Summary struct {
	Batch batch.ID
	Name  string
	collect.Tally
	Total     int64                 // jobs of the batch
	Rows      int64                 // inputs, of which Total have jobs; 0 if it is not known
	Earlier   int64                 // results of an earlier run
	Prompts   []earlier.PromptCount // results by the version of their prompts; nil unless rows ran again
	Plan      string                // outcome of the planning; "" without a planner
	Reduce    string                // outcome of the reduction; "" without a reduction
	Stages    []operation.StageUse  // nil if the batch has only jobs
	Wall      time.Duration
	Simulated bool
	Prices    batch.Prices // zero if no prices are set
	Spec      string       // path for the hint that names a real server; "" if the batch does not run here
	Out       string       // results file; "" for standard output
	// PerTool holds the counters of the tools in this process by name; nil if the batch does not run here.
	PerTool map[string]toolpool.Stats
}

// String formats the summary as lines, each with a line end.
func (s Summary) String() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-8s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("batch", "%s  %s", s.Batch, s.Name)
	if s.Plan != "" {
		line("plan", "%s", s.Plan)
	}
	done := s.OK + s.Failed + s.Cancelled
	line("jobs", "%s   ok %s   failed %s   cancelled %s", human.Count(s.Total), human.Count(s.OK), human.Count(s.Failed), human.Count(s.Cancelled))
	if open := s.Total - done; open > 0 {
		line("", "%s without a result yet", human.Plural(open, "job", "jobs"))
	}
	if s.Earlier > 0 {
		line("", "%s written by an earlier run", human.Plural(s.Earlier, "result was", "results were"))
	}
	if len(s.Prompts) > 0 {
		line("prompts", "%s", promptsText(s.Prompts))
	}
	if s.Reused > 0 {
		line("", "%s taken from an earlier batch", human.Plural(s.Reused, "result was", "results were"))
	}
	s.failures(line)
	if s.Reduce != "" {
		line("reduce", "%s", s.Reduce)
	}
	rate := 0.0
	if s.Wall > 0 {
		rate = float64(done-s.Earlier) / s.Wall.Seconds()
	}
	line("wall", "%s   %s jobs/s", human.Span(s.Wall), human.PerSecond(rate))
	if s.WallMS > 0 {
		line("time", "%s   (`coordinator explain` shows more)", largest(s.Times, s.WallMS))
	}
	if len(s.Stages) > 0 {
		useLines(line, s.Stages)
	} else {
		useLines(line, []operation.StageUse{{Usage: s.Usage, Tools: s.Tools, Prices: s.Prices}})
	}
	if text := s.whole(); text != "" {
		line("whole", "%s", text)
	}
	if ratio := s.Usage.Sharing(); ratio > 0 {
		line("sharing", "%s", sharingOf(ratio))
	}
	s.perTool(line)
	if len(s.Models) > 0 {
		line("model", "%s", strings.Join(s.Models, ", "))
	}
	for _, field := range slices.Sorted(maps.Keys(s.LeftOut)) {
		line("left out", "%s: the model does not take it, so %s made without it", field, human.Plural(s.LeftOut[field], "result was", "results were"))
	}
	if s.Out != "" {
		line("results", "%s", s.Out)
	}
	if s.Simulated {
		b.WriteString("\n" + simulatedNote(s.Spec))
	}
	return b.String()
}

// largest formats the three parts that took most of the agents' time.
func largest(t batch.Times, wallMS int64) string {
	parts := diagnose.PartsOf(t, wallMS)
	slices.SortStableFunc(parts, func(a, b batch.Part) int { return cmp.Compare(b.MS, a.MS) })
	list := make([]string, 0, 3)
	for _, p := range parts[:3] {
		if p.MS*100 >= wallMS {
			list = append(list, human.Percent(p.MS, wallMS)+" "+diagnose.PartNames[p.Name])
		}
	}
	return strings.Join(list, "   ")
}

// failures lists the types of errors, most frequent first, and the first messages.
func (s Summary) failures(line func(name, format string, args ...any)) {
	types := slices.DeleteFunc(slices.Clone(batch.ErrorTypes), func(t batch.ErrorType) bool { return s.ByType[t] == 0 })
	slices.SortStableFunc(types, func(a, b batch.ErrorType) int { return int(s.ByType[b] - s.ByType[a]) })
	name := "errors"
	if len(types) > 0 {
		parts := make([]string, len(types))
		for i, t := range types {
			parts[i] = fmt.Sprintf("%s %s", t, human.Count(s.ByType[t]))
		}
		line(name, "%s", strings.Join(parts, "   "))
	}
	for _, r := range s.First {
		line("", "%s  %s: %s", nameOf(r), r.Error.Type, r.Error.Message)
	}
}

// perTool lists how the calls of each tool were answered and how long its executions took.
func (s Summary) perTool(line func(name, format string, args ...any)) {
	for _, name := range slices.Sorted(maps.Keys(s.PerTool)) {
		t := s.PerTool[name]
		if t.Asked == 0 {
			continue
		}
		more := ""
		if t.Retried > 0 {
			more += "   retried " + human.Count(t.Retried)
		}
		if t.SharedCluster > 0 {
			more += "   shared across nodes " + human.Count(t.SharedCluster)
		}
		if t.Finished > 0 {
			more += fmt.Sprintf("   P50 %s P75 %s P99 %s", brief(t.P50), brief(t.P75), brief(t.P99))
		}
		line("", "%s: asked %s   executed %s   shared %s   cached %s   failed %s%s", toolpool.SpecName(name), human.Count(t.Asked),
			human.Count(t.Executed), human.Count(t.SharedProcess), human.Count(t.Cached), human.Count(t.Failed), more)
	}
}

// brief formats a latency with the digits that matter.
func brief(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.2fms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	default:
		return human.Span(d)
	}
}

// simulatedNote warns that no model made the results, and names the remedy.
func simulatedNote(spec string) string {
	note := "*** THE ANSWERS ARE SIMULATED: no model was asked. ***\n"
	if spec != "" {
		note += "To use a real server:  coordinator run " + spec + " --backend vllm://HOST:8000\n"
	}
	return note
}

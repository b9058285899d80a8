package coordinator

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Summary is what is said at the end of a batch.
type Summary struct {
	Batch batch.ID
	Name  string
	Tally
	Total     int64  // jobs of the batch
	Earlier   int64  // results that an earlier run had written
	Reduce    string // how the reduction ended; "" if there is none
	Wall      time.Duration
	Simulated bool
	Spec      string // path, to say how to name a real server; "" if the batch does not run here
	Out       string // file that holds the results; "" for standard output
}

// String is the summary in lines, each ended.
func (s Summary) String() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-8s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("batch", "%s  %s", s.Batch, s.Name)
	done := s.OK + s.Failed + s.Cancelled
	line("jobs", "%s   ok %s   failed %s   cancelled %s", count(s.Total), count(s.OK), count(s.Failed), count(s.Cancelled))
	if open := s.Total - done; open > 0 {
		line("", "%s without a result yet", plural(open, "job", "jobs"))
	}
	if s.Earlier > 0 {
		line("", "%s written by an earlier run", plural(s.Earlier, "result was", "results were"))
	}
	if s.Reused > 0 {
		line("", "%s taken from an earlier batch", plural(s.Reused, "result was", "results were"))
	}
	s.failures(line)
	if s.Reduce != "" {
		line("reduce", "%s", s.Reduce)
	}
	rate := 0.0
	if s.Wall > 0 {
		rate = float64(done-s.Earlier) / s.Wall.Seconds()
	}
	line("wall", "%s   %s jobs/s", span(s.Wall), perSecond(rate))
	line("tokens", "prompt %s (%s cached)   completion %s",
		count(s.Usage.PromptTokens), percent(s.Usage.CachedTokens, s.Usage.PromptTokens), count(s.Usage.CompletionTokens))
	line("tools", "asked %s   executed %s", count(s.Tools.Asked), count(s.Tools.Executed))
	if len(s.Models) > 0 {
		line("model", "%s", strings.Join(s.Models, ", "))
	}
	if s.Out != "" {
		line("results", "%s", s.Out)
	}
	if s.Simulated {
		b.WriteString("\n" + simulatedNote(s.Spec))
	}
	return b.String()
}

// failures says which errors there were, most frequent first, and the first messages.
func (s Summary) failures(line func(name, format string, args ...any)) {
	types := slices.DeleteFunc(slices.Clone(batch.ErrorTypes), func(t batch.ErrorType) bool { return s.ByType[t] == 0 })
	slices.SortStableFunc(types, func(a, b batch.ErrorType) int { return int(s.ByType[b] - s.ByType[a]) })
	name := "errors"
	if len(types) > 0 {
		parts := make([]string, len(types))
		for i, t := range types {
			parts[i] = fmt.Sprintf("%s %s", t, count(s.ByType[t]))
		}
		line(name, "%s", strings.Join(parts, "   "))
	}
	for _, r := range s.First {
		line("", "%s  %s: %s", r.JobID, r.Error.Type, r.Error.Message)
	}
}

// simulatedNote says that nothing in the results comes from a model, and what to do about it.
func simulatedNote(spec string) string {
	note := "*** THE ANSWERS ARE SIMULATED: no model was asked. ***\n"
	if spec != "" {
		note += "To use a real server:  coordinator run " + spec + " --backend vllm://HOST:8000\n"
	}
	return note
}

package diagnose

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/batch"
)

// Bound is the bottleneck of a batch and the setting that would widen it.
type Bound struct {
	Part string `json:"part"` // as in batch.Times, or own, feed, workers; "" if unknown
	By   string `json:"by"`
	Knob string `json:"knob"`
}

// advice maps a part in which agents spend most of their time to the bottleneck that it points to and the setting to
// change.
var advice = map[string]struct{ by, knob string }{
	"held": {"the server's KV cache, which has no room for more agents",
		"a larger cache (--gpu-memory-utilization, a smaller model or context), shorter tool results (max_tokens), or another node"},
	"slot": {"slots: agents are ready, but their server's slots are taken",
		"raise worker --max-inflight or the spec's max_inflight if the server has room; otherwise another node"},
	"prefill_cold": {"the time to the first token, on prompts that were less than half cached",
		"put what all inputs share into system_prompt; see that the server's prefix cache is on and large enough; lower --max-inflight if requests queue in the server"},
	"prefill_cached": {"the time to the first token although most of the prompt was cached: requests queue in the server",
		"lower worker --max-inflight or the spec's max_inflight, or add a node"},
	"decode": {"decode: the servers write tokens as fast as they can",
		"a lower sampling.max_tokens or a tighter schema; a faster server, or another node"},
	"tools": {"tool calls",
		"raise the slow tool's rate or concurrency in tools.yaml; let more agents live (worker --max-agents), so that the server has work meanwhile"},
	"tools_shared": {"tool calls that ran for other jobs: many agents wait for the same call",
		"a faster tool, or a wider share for it (ttl, pure), so that its results are kept"},
	"retry":   {"model calls that fail and are retried", "read the worker's log for the server's errors; see that it is up, and lower --max-inflight if it answers 429 or 503"},
	"journal": {"writing to Redis", "see `coordinator doctor` for Redis' latency; keep Redis near the workers, and its disk fast"},
	"program": {"the agents' program, between its calls",
		"a faster start of the program (serve: true, if it can serve many jobs), more processor time for it, or another node"},
	OwnPart: {"batchagent itself", "give the workers more processor time"},
}

// BoundOf returns the bottleneck of a batch, judged by the results in t and by status.
func BoundOf(t collect.Tally, status operation.StatusReport) Bound {
	return boundOf(Explanation{Timed: t.OK + t.Failed, WallMS: t.WallMS, Times: t.Times}, &status)
}

// PartsOf returns the parts of the agents' time in the order of a job's life, with batchagent's own part last.
func PartsOf(t batch.Times, wallMS int64) []batch.Part {
	return append(t.Parts(), batch.Part{Name: OwnPart, MS: max(0, wallMS-t.Sum().Milliseconds())})
}

// PartName returns the display name of a part.
func PartName(name string) string { return PartNames[name] }

// boundOf returns the bottleneck of a batch. status is nil if only a results file was read.
func boundOf(e Explanation, status *operation.StatusReport) Bound {
	if status != nil && !status.Phase.Terminal() {
		c := status.Counts
		switch {
		case status.Pause != nil:
			return Bound{Part: "workers", By: status.Trouble, Knob: "make the model server answer; the workers probe it and go on by themselves"}
		case status.Trouble != "":
			return Bound{Part: "workers", By: status.Trouble, Knob: "start a worker that can serve it"}
		case status.Phase == batch.Open && c.Waiting == 0 && c.Fed > 0:
			return Bound{Part: "feed", By: "its feed: workers take jobs faster than they are handed in", Knob: "run `coordinator submit` near Redis"}
		}
	}
	if e.Timed == 0 {
		return Bound{By: "nothing known yet: no job has ended with its times", Knob: "wait for the first results"}
	}
	most := slices.MaxFunc(PartsOf(e.Times, e.WallMS), func(x, y batch.Part) int { return cmp.Compare(x.MS, y.MS) })
	a := advice[most.Name]
	return Bound{Part: most.Name, By: fmt.Sprintf("%s (%s of the agents' time)", a.by, human.Percent(most.MS, e.WallMS)), Knob: a.knob}
}

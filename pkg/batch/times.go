package batch

import "time"

// Times says where the wall time of a job's last attempt went, in milliseconds. No moment counts twice: a tool that ran
// while the model still wrote is decode until the model had ended. What is left to Result.WallMS is batchagent's own.
//
// Queued alone lies before the attempt, and so outside of WallMS, of Parts and of Sum.
type Times struct {
	// Queued is how long the job waited in Redis for a worker, by Redis' clock: since it was fed, released or retried. 0 if the attempt took
	// over a lease that had lapsed: such a job waits for nobody but its dead holder.
	Queued        int64 `json:"queued,omitempty"`
	Held          int64 `json:"held,omitempty"`           // kept back while the server's KV cache had no room, or the server was away
	Slot          int64 `json:"slot,omitempty"`           // waiting for a slot
	PrefillCold   int64 `json:"prefill_cold,omitempty"`   // to the first token, less than half of the prompt being in the server's cache
	PrefillCached int64 `json:"prefill_cached,omitempty"` // the same with half of the prompt or more in the cache
	Decode        int64 `json:"decode,omitempty"`         // from the first token to the last
	Tools         int64 `json:"tools,omitempty"`          // waiting for tool calls, the last of which ran for this job
	ToolsShared   int64 `json:"tools_shared,omitempty"`   // the same, the last of which ran for another job
	Retry         int64 `json:"retry,omitempty"`          // model calls that failed, and the waits after them
	Journal       int64 `json:"journal,omitempty"`        // writing turns and effects to Redis
}

// Part is a kind of time and how much of it there was.
type Part struct {
	Name string // as in the JSON form of Times
	MS   int64
}

// Parts lists all kinds of which the wall time consists, in the order in which a job meets them.
func (t Times) Parts() []Part {
	return []Part{
		{"held", t.Held}, {"slot", t.Slot}, {"prefill_cold", t.PrefillCold}, {"prefill_cached", t.PrefillCached}, {"decode", t.Decode},
		{"tools", t.Tools}, {"tools_shared", t.ToolsShared}, {"retry", t.Retry}, {"journal", t.Journal},
	}
}

// Add adds o to t.
func (t *Times) Add(o Times) {
	t.Queued += o.Queued
	t.Held += o.Held
	t.Slot += o.Slot
	t.PrefillCold += o.PrefillCold
	t.PrefillCached += o.PrefillCached
	t.Decode += o.Decode
	t.Tools += o.Tools
	t.ToolsShared += o.ToolsShared
	t.Retry += o.Retry
	t.Journal += o.Journal
}

// Timed reports whether t tells anything of the wall time.
func (t Times) Timed() bool { return t.Sum() > 0 }

// Sum is all parts together.
func (t Times) Sum() time.Duration {
	ms := int64(0)
	for _, p := range t.Parts() {
		ms += p.MS
	}
	return time.Duration(ms) * time.Millisecond
}

package batch

import "time"

// Times splits the wall time of a job's last attempt, in milliseconds. No moment counts twice: a tool that ran during the
// model's answer counts as Decode until the answer ended. The time of parallel calls of a program is divided among them. The rest of
// Result.WallMS is batchagent's own work.
//
// Queued is the exception: it precedes the attempt, so WallMS, Parts and Sum do not contain it.
type Times struct {
	// Queued is how long the job waited in Redis for a worker after it was fed, released or retried, by Redis' clock. It is 0
	// if the attempt took over an expired lease: such a job waited only for its dead holder.
	Queued        int64 `json:"queued,omitempty"`
	Held          int64 `json:"held,omitempty"`           // waiting because the server's KV cache had no room, or the server was unreachable
	Slot          int64 `json:"slot,omitempty"`           // waiting for a slot
	PrefillCold   int64 `json:"prefill_cold,omitempty"`   // until the first token, with less than half of the prompt in the server's cache
	PrefillCached int64 `json:"prefill_cached,omitempty"` // the same with half of the prompt or more in the cache
	Decode        int64 `json:"decode,omitempty"`         // from the first token to the last
	Tools         int64 `json:"tools,omitempty"`          // waiting for tool calls; the last one ran for this job
	ToolsShared   int64 `json:"tools_shared,omitempty"`   // the same; the last one ran for another job
	Retry         int64 `json:"retry,omitempty"`          // failed model calls, and the waits after them
	Journal       int64 `json:"journal,omitempty"`        // writing turns and effects to Redis
	Program       int64 `json:"program,omitempty"`        // the agent's program starts or computes, and has no call under way
}

// Part is one kind of time and its amount.
type Part struct {
	Name string // as in the JSON form of Times
	MS   int64
}

// Parts lists all kinds of time that make up the wall time, in the order of a job's life.
func (t Times) Parts() []Part {
	return []Part{
		{"held", t.Held}, {"slot", t.Slot}, {"prefill_cold", t.PrefillCold}, {"prefill_cached", t.PrefillCached}, {"decode", t.Decode},
		{"tools", t.Tools}, {"tools_shared", t.ToolsShared}, {"retry", t.Retry}, {"journal", t.Journal}, {"program", t.Program},
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
	t.Program += o.Program
}

// Timed reports whether t has any part of the wall time.
func (t Times) Timed() bool { return t.Sum() > 0 }

// Sum returns the total of all parts.
func (t Times) Sum() time.Duration {
	ms := int64(0)
	for _, p := range t.Parts() {
		ms += p.MS
	}
	return time.Duration(ms) * time.Millisecond
}

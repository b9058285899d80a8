package worker

import (
	"context"
	"sync/atomic"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/scheduler"
)

// admission keeps the live agents within the server's KV cache, where the server says how large that is. Before it does,
// and on servers that never do, everything is admitted.
type admission struct {
	ledger atomic.Pointer[scheduler.Ledger]
	short  atomic.Bool // some batch could start fewer jobs than slots would take
	lacked bool        // the same, in this round of claims; belongs to the goroutine that claims
	wake   func()      // there may be room again
}

// learn asks the server for the size of its cache, when it came back.
func (d *admission) learn(ctx context.Context, b backend.Backend) {
	reporter, ok := b.(backend.LoadReporter)
	if !ok {
		return
	}
	load, err := reporter.Load(ctx)
	if err != nil || load.KVCapacityTokens <= 0 {
		return
	}
	if l := d.ledger.Load(); l == nil || l.State().Capacity != load.KVCapacityTokens {
		d.ledger.Store(scheduler.NewLedger(scheduler.LedgerConfig{Capacity: load.KVCapacityTokens}))
	}
}

// state is the ledger's, or nothing.
func (d *admission) state() scheduler.State {
	if l := d.ledger.Load(); l != nil {
		return l.State()
	}
	return scheduler.State{}
}

// room is how many of n jobs of a batch may start now.
func (d *admission) room(w *work, n int) int {
	l := d.ledger.Load()
	if l == nil {
		return n
	}
	d.short.Store(true) // before the question: what is given back from then on counts
	l.Declare(string(w.id), w.prefixBytes, w.maxTurns)
	room := l.Room(string(w.id), w.jobBytes(), n)
	d.lacked = d.lacked || room < n
	return room
}

// roundEnded takes note of whether any batch lacked room since the round of claims before.
func (d *admission) roundEnded() {
	d.short.Store(d.lacked)
	d.lacked = false
}

// start counts a claimed job. Its size is reckoned from its input, and from what its journal holds.
func (d *admission) start(w *work, job batch.Job, payload []byte, journal [][]byte) {
	l := d.ledger.Load()
	if l == nil {
		return
	}
	w.jobs++
	w.payloadBytes += len(payload)
	size := w.taskBytes + len(payload)
	for _, t := range journal {
		size += len(t)
	}
	l.Start(job.String(), string(w.id), size, len(journal))
}

// end takes a job out. finished says that it has a result, from which its siblings' length is learned.
func (d *admission) end(job batch.Job, finished bool) {
	if l := d.ledger.Load(); l != nil {
		l.End(job.String(), finished)
	}
}

// keep forgets all batches but these, and those that still have live agents.
func (d *admission) keep(open []*work) {
	l := d.ledger.Load()
	if l == nil {
		return
	}
	names := make(map[string]bool, len(open))
	for _, b := range open {
		names[string(b.id)] = true
	}
	l.Keep(names)
}

// leave gives a job's part to others while it waits for a tool.
func (d *admission) leave(job batch.Job) {
	if l := d.ledger.Load(); l != nil && l.Leave(job.String()) {
		d.wake()
	}
}

// await holds a job at its turn boundary while it would only evict others.
func (d *admission) await(ctx context.Context) error {
	l := d.ledger.Load()
	id, _ := ctx.Value(accountKey{}).(string)
	if l == nil || id == "" {
		return nil
	}
	return l.Await(ctx, id)
}

type accountKey struct{}

func withAccount(ctx context.Context, job batch.Job) context.Context {
	return context.WithValue(ctx, accountKey{}, job.String())
}

// accounted makes model calls and books what they report.
type accounted struct {
	agent.Model
	admission *admission
}

// Generate implements [agent.Model].
func (a accounted) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	resp, err := a.Model.Generate(ctx, r, o)
	if l := a.admission.ledger.Load(); l != nil && err == nil && resp.Usage.PromptTokens > 0 { // without usage it tells nothing
		u := resp.Usage
		l.Turn(r.Hints.Session, requestBytes(r), int(u.PromptTokens), int(u.CachedTokens), int(u.CompletionTokens))
		if a.admission.short.Load() {
			a.admission.wake()
		}
	}
	return resp, err
}

func requestBytes(r *backend.Request) int {
	n := 0
	for _, m := range r.Messages {
		n += len(m.Content)
		for _, c := range m.ToolCalls {
			n += len(c.Name) + len(c.Arguments)
		}
	}
	for _, t := range r.Tools {
		n += len(t.Name) + len(t.Description) + len(t.Parameters)
	}
	return n
}

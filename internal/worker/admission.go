package worker

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/scheduler"
)

// admission keeps the live agents within the server's KV cache. Until the server reports the size of its cache, every
// agent is admitted.
type admission struct {
	ledger atomic.Pointer[scheduler.Ledger]
	short  atomic.Bool // some batch could start fewer jobs than the slots allow
	lacked bool        // the same for the current round of claims; belongs to the goroutine that claims
	claim  signal      // sent when there may be room again
	peers  int         // workers of this process at the same server, this one included; 0 is one
}

// learn reads the size of the server's cache. It is called when the backend came back.
func (d *admission) learn(ctx context.Context, server backend.Backend) {
	reporter, ok := server.(backend.LoadReporter)
	if !ok {
		return
	}
	load, err := reporter.Load(ctx)
	if err != nil || load.KVCapacityTokens <= 0 {
		return
	}
	part := max(load.KVCapacityTokens/max(d.peers, 1), 1)
	if l := d.ledger.Load(); l == nil || l.State().Capacity != part {
		d.ledger.Store(scheduler.NewLedger(scheduler.LedgerConfig{Capacity: part}))
	}
}

// state returns the state of the ledger, or the zero state before learn.
func (d *admission) state() scheduler.State {
	if l := d.ledger.Load(); l != nil {
		return l.State()
	}
	return scheduler.State{}
}

// room returns how many of n jobs of a batch may start now.
func (d *admission) room(b *openBatch, n int) int {
	l := d.ledger.Load()
	if l == nil {
		return n
	}
	d.short.Store(true) // set before the check, so that room freed during it wakes the claim loop
	l.Declare(string(b.id), b.prefixBytes+b.lead.prefix(), b.maxTurns)
	room := l.Room(string(b.id), b.jobBytes(), n)
	d.lacked = d.lacked || room < n
	return room
}

// roundEnded records whether any batch lacked room in this round of claims.
func (d *admission) roundEnded() {
	d.short.Store(d.lacked)
	d.lacked = false
}

// start counts a claimed job. Its size is that of its prompt and its journal.
func (d *admission) start(b *openBatch, job batch.Job, payload []byte, journal [][]byte) {
	l := d.ledger.Load()
	if l == nil {
		return
	}
	prompt := b.def.Outline(payload, b.lead.each())
	b.jobs++
	b.promptBytes += len(prompt)
	size := len(prompt)
	if len(journal) > 0 {
		size -= min(size, b.lead.own()) // the first turn has the results
	}
	for _, t := range journal {
		size += len(t)
	}
	l.Start(job.String(), string(b.id), size, len(journal), scheduler.MarksOf(prompt))
}

// startTalk counts a further conversation of a job's program. Its size is unknown until its first answer.
func (d *admission) startTalk(b *openBatch, session string) {
	if l := d.ledger.Load(); l != nil {
		l.Start(session, string(b.id), 0, 0, scheduler.Marks{})
	}
}

// endTalk removes such a conversation.
func (d *admission) endTalk(session string) {
	if l := d.ledger.Load(); l != nil {
		l.End(session, false)
	}
}

// end removes a job. finished reports whether it has a result; if so, the ledger learns the length of its siblings from
// it.
func (d *admission) end(job batch.Job, finished bool) {
	if l := d.ledger.Load(); l != nil {
		l.End(job.String(), finished)
	}
}

// keep drops all batches except these and those with live agents.
func (d *admission) keep(open []*openBatch) {
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

// leave frees a conversation's part of the cache for others while its agent waits for a tool.
func (d *admission) leave(session string) {
	if l := d.ledger.Load(); l != nil && l.Leave(session) {
		d.claim.send()
	}
}

// await blocks a conversation at its turn boundary while it would only evict others.
func (d *admission) await(ctx context.Context, session string) error {
	if l := d.ledger.Load(); l != nil {
		return l.Await(ctx, session)
	}
	return nil
}

// worth returns the wait that costs as much as the return of an agent that gave up its part; see [scheduler.Ledger.Worth].
// Without a ledger no agent has a part.
func (d *admission) worth() time.Duration {
	if l := d.ledger.Load(); l != nil {
		return l.Worth()
	}
	return time.Minute
}

// ranked returns the request with its place among the calls of this worker: older agents first.
func (d *admission) ranked(r *backend.Request) *backend.Request {
	l := d.ledger.Load()
	if l == nil {
		return r
	}
	hinted := *r
	hinted.Hints.Rank = l.Rank(r.Hints.Session)
	return &hinted
}

// observed corrects the ledger by a reading of the server.
func (d *admission) observed(load backend.Load) {
	if l := d.ledger.Load(); l != nil {
		l.Observe(scheduler.Reading{
			Usage: load.KVUsage, Running: load.Running, Waiting: load.Waiting, Preemptions: load.Preemptions, Tier: load.Tier,
		})
		if d.short.Load() {
			d.claim.send()
		}
	}
}

// sent records a call in the ledger before it is answered.
func (d *admission) sent(r *backend.Request) {
	if l := d.ledger.Load(); l != nil {
		l.Call(r.Hints.Session, requestBytes(r))
	}
}

// failed records that a call ended without an answer.
func (d *admission) failed(r *backend.Request) {
	if l := d.ledger.Load(); l != nil {
		l.Failed(r.Hints.Session)
	}
}

// booked enters an answered call into the ledger. A call without usage is skipped.
func (d *admission) booked(r *backend.Request, resp *backend.Response) {
	l, u := d.ledger.Load(), resp.Usage
	if l == nil {
		return
	}
	if u.PromptTokens <= 0 {
		l.Failed(r.Hints.Session)
		return
	}
	l.Began(r.Hints.Session, resp.TTFT)
	l.Turn(r.Hints.Session, requestBytes(r), int(u.PromptTokens), int(u.CachedTokens), int(u.CompletionTokens))
	if d.short.Load() {
		d.claim.send()
	}
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

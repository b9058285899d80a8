package main

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/batchagent/batchagent/pkg/scheduler"
	"github.com/batchagent/batchagent/pkg/vllmsim/batching"
)

// ledger is batchagent's own admission.
type ledger struct {
	*scheduler.Ledger
	maxTurns    int
	noLearn     bool // the budget stays at the capacity
	noPause     bool // agents never pause
	perAgent    bool // the prefix counts for every agent
	noQueue     bool // the server's queue is ignored
	stay        bool // agents keep their part during long tool calls
	noReading   bool // the use of the cache is ignored
	oldestFirst bool // the engine serves older agents first
	fullPrice   bool // returning agents are assumed to compute all again
	oneName     bool // all tools share one name, and so one expected duration

	seeding *scheduler.Seeding        // nil if no agent waits for a seed
	tools   map[bool][]scheduler.Took // durations of quick and of slow tools
	queue   batching.Load
	read    time.Duration // when the queue was read; 0 is never
}

const theBatch = "b"

func newLedger(w workload, p batching.Profile, told float64, change func(*ledger)) *ledger {
	l := &ledger{
		Ledger:   scheduler.NewLedger(scheduler.LedgerConfig{Capacity: int(told * float64(p.Capacity())), BlockSize: p.BlockSize}),
		maxTurns: 16, tools: map[bool][]scheduler.Took{},
	}
	if p.LateReuse && scheduler.WorthSeeding(w.prefix*bytesPerToken) {
		l.seeding = &scheduler.Seeding{}
	}
	if change != nil {
		change(l)
	}
	prefix := w.prefix
	if l.perAgent {
		prefix = 0
	}
	longest := 1
	for _, s := range w.agents {
		longest = max(longest, len(s.turns))
	}
	if l.maxTurns = max(l.maxTurns, longest); longest == 1 {
		l.maxTurns = 1 // no tools: known from the spec
	}
	l.Declare(theBatch, prefix*bytesPerToken, l.maxTurns)
	return l
}

const bytesPerToken = 4

// marks returns the marks of an agent's first prompt. A piece of a prompt has the length of a block of 16 tokens.
func (w workload) marks(a *agent) scheduler.Marks {
	const piece = 16
	w.prefix = 0
	return w.blockHashes(a, w.document(a.script)+a.script.turns[0].fresh, piece)
}

func name(a *agent) string { return strconv.Itoa(a.index) }

func (l *ledger) admit(w *world, waiting int) int {
	if waiting == 0 {
		return 0
	}
	if !l.noQueue {
		waiting = l.fresh(w, waiting)
	}
	if l.seeding != nil {
		waiting = l.seeding.Room(epoch.Add(w.now), waiting)
	}
	if waiting == 0 {
		return 0
	}
	first := func(i int) int {
		s := w.waiting[i].script
		return (w.load.document(s) + s.turns[0].fresh) * bytesPerToken
	}
	n := l.Room(theBatch, first(0), waiting)
	for i := range n {
		l.Start(name(w.waiting[i]), theBatch, first(i), 0, w.load.marks(w.waiting[i]))
		if l.seeding != nil {
			l.seeding.Started(epoch.Add(w.now))
		}
	}
	return n
}

func (l *ledger) shape(w *world, a *agent, r *batching.Request) {
	l.Call(name(a), r.PromptTokens*bytesPerToken)
	if l.oldestFirst {
		w.engine.ByPriority, r.Priority = true, a.index
	}
}

// fresh reads the server's queue as often as a worker: every second, and four times as often while it is full.
func (l *ledger) fresh(w *world, waiting int) int {
	every := time.Second
	queue := func() scheduler.ServerQueue {
		return scheduler.ServerQueue{Running: l.queue.Running, Waiting: l.queue.Waiting, Age: w.now - l.read}
	}
	if queue().Full() {
		every /= 4
	}
	if w.now-l.read >= every {
		l.look(w)
	}
	return queue().Fresh(len(w.live), waiting)
}

// look reads the server.
func (l *ledger) look(w *world) {
	l.queue, l.read = w.engine.Load(), w.now
	if !l.noReading {
		l.Observe(scheduler.Reading{
			Usage: float64(l.queue.UsedBlocks) / float64(l.queue.Blocks), Running: l.queue.Running, Waiting: l.queue.Waiting,
			Preemptions: int64(w.engine.Counters().Preemptions), Tier: w.profile.HostBlocks > 0,
		})
	}
}

// epoch is the start time of a world.
var epoch = time.Unix(0, 0)

func (l *ledger) began(w *world) {
	if l.seeding != nil {
		l.seeding.Begun(epoch.Add(w.now))
	}
}

// mayCall never waits: its context has already ended.
func (l *ledger) mayCall(_ *world, a *agent) bool {
	return l.noPause || l.Await(over, name(a)) == nil
}

func (l *ledger) resume(w *world) (out []*agent) {
	if w.now-l.read >= time.Second {
		l.look(w)
	}
	for _, a := range w.live {
		if a.paused && l.mayCall(w, a) {
			out = append(out, a)
		}
	}
	return out
}

func (l *ledger) ended(_ *world, a *agent, prompt, cached, output int) {
	l.Began(name(a), a.ttft)
	if l.noLearn {
		cached = -1
	}
	l.Turn(name(a), prompt*bytesPerToken, prompt, cached, output)
}
func (l *ledger) left(_ *world, a *agent) { l.End(name(a), true) }

var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// acting releases the agent's part if its tool takes long, or is expected to.
func (l *ledger) acting(w *world, a *agent, tool time.Duration) {
	if l.stay {
		return
	}
	slow, turn := tool > time.Second && !l.oneName, a.turn
	worth := l.Worth()
	if l.fullPrice {
		worth = 20 * time.Second
	}
	after := scheduler.LeaveAfter(l.tools[slow], 0, worth)
	w.after(tool, func() {
		took := l.tools[slow]
		at, _ := slices.BinarySearchFunc(took, tool, func(t scheduler.Took, d time.Duration) int { return cmp.Compare(t.Duration, d) })
		l.tools[slow] = slices.Insert(took, at, scheduler.Took{Duration: tool, Count: 1})
	})
	if tool <= after {
		return
	}
	w.after(after, func() {
		if a.live && a.acting && a.turn == turn && !a.paused {
			l.Leave(name(a))
		}
	})
}

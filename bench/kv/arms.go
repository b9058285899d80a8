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

// fixed admits at most n live agents; 0 admits all.
type fixed int

func (f fixed) admit(w *world, waiting int) int {
	if f == 0 {
		return waiting
	}
	return int(f) - len(w.live)
}
func (fixed) mayCall(*world, *agent) bool          { return true }
func (fixed) resume(*world) []*agent               { return nil }
func (fixed) began(*world)                         {}
func (fixed) acting(*world, *agent, time.Duration) {}
func (fixed) ended(*world, *agent, int, int, int)  {}
func (fixed) left(*world, *agent)                  {}

// thunder pauses and resumes agents like ThunderAgent's router (arXiv 2602.13692, and its public source). Each agent's tokens
// count in full, including the prefix, plus 100 for its next output. Every five seconds, while the sum exceeds the capacity,
// agents that wait for a tool are paused, the smallest first. Then paused and new agents are admitted, the largest that fits
// first.
type thunder struct {
	last   time.Duration
	paused map[*agent]bool
}

const (
	thunderEvery  = 5 * time.Second
	thunderBuffer = 100
)

func newThunder() *thunder { return &thunder{paused: map[*agent]bool{}} }

func (t *thunder) size(w *world, a *agent) int { return w.load.prefix + a.context + thunderBuffer }

func (t *thunder) used(w *world) (sum int) {
	for _, a := range w.live {
		if !t.paused[a] {
			sum += t.size(w, a)
		}
	}
	return sum
}

func (t *thunder) admit(w *world, waiting int) int {
	free, n := w.profile.Capacity()-t.used(w), 0
	for ; n < waiting; n++ {
		size := w.load.prefix + w.waiting[n].script.turns[0].fresh + thunderBuffer
		if size > free && (n > 0 || len(w.live) > 0) {
			break
		}
		free -= size
	}
	return n
}

func (t *thunder) mayCall(_ *world, a *agent) bool { return !t.paused[a] }

func (t *thunder) resume(w *world) (out []*agent) {
	if w.now-t.last < thunderEvery && len(w.live) > len(t.paused) {
		return nil
	}
	t.last = w.now
	capacity := w.profile.Capacity()
	acting := slices.DeleteFunc(slices.Clone(w.live), func(a *agent) bool { return !a.acting || t.paused[a] })
	slices.SortFunc(acting, func(a, b *agent) int { return cmp.Compare(a.context, b.context) })
	for _, a := range acting {
		if t.used(w) <= capacity {
			break
		}
		t.paused[a] = true
	}
	held := slices.DeleteFunc(slices.Clone(w.live), func(a *agent) bool { return !t.paused[a] })
	slices.SortFunc(held, func(a, b *agent) int { return cmp.Compare(b.context, a.context) })
	for _, a := range held {
		if t.used(w)+t.size(w, a) <= capacity || len(held) == len(w.live) && len(out) == 0 {
			delete(t.paused, a)
			if a.paused {
				out = append(out, a)
			}
		}
	}
	return out
}
func (t *thunder) began(*world)                         {}
func (t *thunder) acting(*world, *agent, time.Duration) {}
func (t *thunder) ended(*world, *agent, int, int, int)  {}
func (t *thunder) left(_ *world, a *agent)              { delete(t.paused, a) }

// ledger is batchagent's own admission.
type ledger struct {
	*scheduler.Ledger
	maxTurns int
	noLearn  bool // the budget stays at the capacity
	noPause  bool // agents never pause
	perAgent bool // the prefix counts for every agent
	noQueue  bool // the server's queue is ignored
	stay     bool // agents keep their part during long tool calls
	oneName  bool // all tools share one name, and so one expected duration

	seeding *scheduler.Seeding       // nil if no agent waits for a seed
	tools   map[bool][]time.Duration // durations of quick and of slow tools
	queue   batching.Load
	read    time.Duration // when the queue was read; 0 is never
}

const theBatch = "b"

func newLedger(w workload, p batching.Profile, told float64, change func(*ledger)) *ledger {
	l := &ledger{
		Ledger:   scheduler.NewLedger(scheduler.LedgerConfig{Capacity: int(told * float64(p.Capacity())), BlockSize: p.BlockSize}),
		maxTurns: 16, tools: map[bool][]time.Duration{},
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
	if longest == 1 {
		l.maxTurns = 1 // no tools: known from the spec
	}
	l.Declare(theBatch, prefix*bytesPerToken, l.maxTurns)
	return l
}

const bytesPerToken = 4

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
	start := w.waiting[0].script.turns[0].fresh * bytesPerToken
	n := l.Room(theBatch, start, waiting)
	for i := range n {
		l.Start(name(w.waiting[i]), theBatch, w.waiting[i].script.turns[0].fresh*bytesPerToken, 0)
		if l.seeding != nil {
			l.seeding.Started(epoch.Add(w.now))
		}
	}
	return n
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
		l.queue, l.read = w.engine.Load(), w.now
	}
	return queue().Fresh(len(w.live), waiting)
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
	for _, a := range w.live {
		if a.paused && l.mayCall(w, a) {
			out = append(out, a)
		}
	}
	return out
}

func (l *ledger) ended(_ *world, a *agent, prompt, cached, output int) {
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
	after := scheduler.LeaveAfter(p75(l.tools[slow]))
	w.after(tool, func() { l.tools[slow] = append(l.tools[slow], tool) })
	if tool <= after {
		return
	}
	w.after(after, func() {
		if a.live && a.acting && a.turn == turn && !a.paused {
			l.Leave(name(a))
		}
	})
}

func p75(of []time.Duration) time.Duration {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)*3/4]
}

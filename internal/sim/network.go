package sim

import (
	"container/heap"
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing/synctest"
	"time"
)

var errRefused = errors.New("connection refused")

// network carries every byte between the simulated processes and Redis, and decides what happens next: it lets one
// event happen, waits until the whole bubble has come to rest, looks at the state, and only then takes the next.
type network struct {
	chance chance
	rates  rates
	start  time.Time
	server func() (net.Conn, error) // a connection to Redis that nothing disturbs
	// timeline answers for Redis what miniredis has no answer for.
	timeline func(requests [][]string) (text string, ok bool)
	arrives  func()                            // called at rest, before Redis gets a request
	seen     func(*exchange)                   // called at rest, after Redis executed a request
	heard    func(sent, delivered []*exchange) // called at rest, with what happened since the last time
	wake     chan struct{}                     // capacity 1: an event was added

	mu              sync.Mutex         // never held across a wait
	events          eventHeap          // guarded by mu
	posted          uint64             // guarded by mu
	down            bool               // guarded by mu; Redis is away
	calm            bool               // guarded by mu; faults are over
	links           map[*link]struct{} // guarded by mu
	sent, delivered []*exchange        // guarded by mu; not yet told to heard
	lastDown        time.Time          // guarded by mu; the last moment at which Redis was known to be away
}

func newNetwork(c chance, r rates, server func() (net.Conn, error)) *network {
	return &network{
		chance: c, rates: r, start: time.Now(), server: server,
		wake: make(chan struct{}, 1), links: make(map[*link]struct{}),
	}
}

// event is something that happens at an instant: a request reaches Redis, a reply reaches a process, a fault strikes.
type event struct {
	at   time.Time
	rank uint64 // orders events of the same instant
	seq  uint64 // and this those of the same rank, as they were posted
	proc *process
	do   func()    // for faults; runs at rest and must not wait
	fire chan bool // for traffic: true when it arrives, false when it is lost
	x    *exchange // set when this is a request arriving
}

// run makes the events happen until ctx is done, and then loses all traffic. It is the only caller of synctest.Wait.
func (n *network) run(ctx context.Context) {
	for {
		synctest.Wait()
		n.tell()
		e, wait := n.next()
		if e == nil {
			t := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				t.Stop()
				n.shut()
				return
			case <-n.wake:
			case <-t.C:
			}
			t.Stop()
			continue
		}
		if e.do != nil {
			e.do()
			continue
		}
		if e.x != nil {
			n.arrives()
		}
		e.fire <- true
		if e.x != nil {
			synctest.Wait()
			n.tell()
			n.seen(e.x)
		}
	}
}

// note changes the books of the network.
func (n *network) note(do func(*network)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	do(n)
}

// tell passes on what was sent and what arrived.
func (n *network) tell() {
	var sent, delivered []*exchange
	n.note(func(n *network) { sent, delivered, n.sent, n.delivered = n.sent, n.delivered, nil, nil })
	n.heard(sent, delivered)
}

// wasDown reports whether Redis was away at or after t.
func (n *network) wasDown(t time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.down || n.lastDown.After(t)
}

// next takes the event that is due, or says how long nothing will be.
func (n *network) next() (*event, time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(n.events) > 0 {
		e := n.events[0]
		if wait := time.Until(e.at); wait > 0 {
			return nil, wait
		}
		heap.Pop(&n.events)
		if e.proc != nil && e.proc.paused {
			e.proc.shelf = append(e.proc.shelf, e)
			continue
		}
		return e, 0
	}
	return nil, time.Hour
}

// post adds an event. Traffic is lost at once while Redis is away.
func (n *network) post(e *event) {
	n.mu.Lock()
	if n.down && e.proc != nil {
		n.mu.Unlock()
		e.fire <- false
		return
	}
	n.posted++
	e.seq = n.posted
	heap.Push(&n.events, e)
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// at makes do happen at rest, at a time after the start.
func (n *network) at(d time.Duration, do func()) {
	n.post(&event{at: n.start.Add(d), do: do})
}

// shut cuts everything for good.
func (n *network) shut() { n.setDown(true) }

// setDown makes Redis go away or come back. Whatever is under way when it goes is lost.
func (n *network) setDown(down bool) {
	n.mu.Lock()
	if n.down || down {
		n.lastDown = time.Now()
	}
	n.down = down
	n.mu.Unlock()
	if !down {
		return
	}
	for _, l := range n.lose(func(e *event) bool { return e.proc != nil }, func(*link) bool { return true }) {
		l.reset()
	}
}

func (n *network) isCalm() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calm
}

// setCalm ends the faults that hit single commands.
func (n *network) setCalm() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calm = true
}

// lose drops the events that match, and returns the links that match, in no order.
func (n *network) lose(dropped func(*event) bool, cut func(*link) bool) []*link {
	n.mu.Lock()
	defer n.mu.Unlock()
	sift := func(events []*event) []*event {
		var kept []*event
		for _, e := range events {
			if dropped(e) {
				e.fire <- false
			} else {
				kept = append(kept, e)
			}
		}
		return kept
	}
	// All links vanish before anybody learns of one, and takes another from a pool.
	var out []*link
	for l := range n.links {
		if cut(l) {
			l.vanish()
			out = append(out, l)
		}
	}
	n.events = sift(n.events)
	heap.Init(&n.events)
	for l := range n.links {
		l.proc.shelf = sift(l.proc.shelf)
	}
	return out
}

// process is what the network knows of one simulated operating-system process.
type process struct {
	name   string
	net    *network
	paused bool           // guarded by net.mu
	dead   bool           // guarded by net.mu
	shelf  []*event       // guarded by net.mu; what is held back while it is paused
	times  map[string]int // guarded by net.mu; how often each request was sent
	full   *fullWorker    // guarded by net.mu; nil unless it runs one
}

func (n *network) process(name string) *process {
	return &process{name: name, net: n, times: make(map[string]int)}
}

// kill cuts the process off for good: nothing that it sends from now on arrives. Requests that had left before may.
func (p *process) kill() {
	p.net.mu.Lock()
	p.dead = true
	p.net.mu.Unlock()
	p.resume()
	cut := p.net.lose(
		func(e *event) bool { return e.proc == p && (e.x == nil || !e.x.survives) },
		func(l *link) bool { return l.proc == p })
	for _, l := range cut {
		l.hangUp()
	}
}

// gone reports whether the process was killed. Code that would go on without end asks it.
func (p *process) gone() bool {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	return p.dead
}

// reset breaks every connection of the process, with all that is under way on it.
func (p *process) reset() {
	for _, l := range p.net.lose(func(e *event) bool { return e.proc == p }, func(l *link) bool { return l.proc == p }) {
		l.reset()
	}
}

// pause holds back all traffic of the process until resume. Its goroutines cannot be stopped, but nothing that they
// do is felt by anybody.
func (p *process) pause() {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	p.paused = true
}

func (p *process) resume() {
	p.net.mu.Lock()
	p.paused = false
	shelf := p.shelf
	p.shelf = nil
	p.net.mu.Unlock()
	for _, e := range shelf {
		r := p.net.chance.on("resume", p.name, strconv.FormatUint(e.rank, 16))
		e.at = time.Now().Add(between(r, 0, 5*time.Millisecond))
		p.net.post(e)
	}
}

// verdict is what the network does to one request and its reply.
type verdict struct {
	there, back            time.Duration
	rank                   uint64
	loseRequest, loseReply bool
}

// verdict draws the fate of a request from its content and from how often the process has sent the same before.
func (p *process) verdict(x *exchange) verdict {
	var key strings.Builder
	for _, req := range x.requests {
		for _, word := range uncreditedRequest(req) {
			key.WriteString(word)
			key.WriteByte(0)
		}
	}
	p.net.mu.Lock()
	calm := p.net.calm
	nth := p.times[key.String()]
	p.times[key.String()]++
	p.net.mu.Unlock()

	r := p.net.chance.on("request", p.name, key.String(), strconv.Itoa(nth))
	rates := p.net.rates
	v := verdict{
		there: between(r, 100*time.Microsecond, 3*time.Millisecond),
		back:  between(r, 100*time.Microsecond, 3*time.Millisecond),
		rank:  r.Uint64(),
	}
	x.survives = likely(r, 0.5)
	slow, extra := likely(r, rates.slow), between(r, 0, rates.slowest)
	loseRequest, loseReply := likely(r, rates.loseRequest), likely(r, rates.loseReply)
	if !calm {
		v.loseRequest, v.loseReply = loseRequest, loseReply
		if slow {
			v.there += extra
		}
	}
	return v
}

// jitter is the process's source of randomness for backoff. It depends on the instant alone, so that it does not
// matter which goroutine asks first.
func (p *process) jitter() float64 {
	return p.net.chance.on("jitter", p.name, strconv.FormatInt(int64(time.Since(p.net.start)), 10)).Float64()
}

// dial connects the process to Redis.
func (p *process) dial(context.Context, string, string) (net.Conn, error) {
	p.net.mu.Lock()
	refused := p.net.down || p.dead
	p.net.mu.Unlock()
	if refused {
		// A refusal that took no time would put the client's own timers on the same instants as those of its callers.
		time.Sleep(between(p.net.chance.on("refuse", p.name, time.Since(p.net.start).String()), time.Microsecond, 2*time.Millisecond))
		return nil, errRefused
	}
	server, err := p.net.server()
	if err != nil {
		return nil, err
	}
	mine, theirs := net.Pipe()
	l := &link{proc: p, client: theirs, server: server, gone: make(chan struct{})}
	p.net.mu.Lock()
	p.net.links[l] = struct{}{}
	p.net.mu.Unlock()
	go l.relay()
	return &clientConn{Conn: mine, link: l}, nil
}

// eventHeap is a heap (container/heap), the next event at its root.
type eventHeap []*event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	if h[i].rank != h[j].rank {
		return h[i].rank < h[j].rank
	}
	return h[i].seq < h[j].seq
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(*event)) }
func (h *eventHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}

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

// network carries every byte between the simulated processes and Redis, and orders all events. It delivers one event, waits until
// the whole bubble is at rest, checks the state, and only then delivers the next.
type network struct {
	chance chance
	rates  rates
	start  time.Time
	server func() (net.Conn, error) // opens a connection to Redis without faults
	// timeline answers for Redis the requests that miniredis cannot answer.
	timeline func(requests [][]string) (text string, ok bool)
	arrives  func()                            // called at rest, before Redis gets a request
	seen     func(*exchange)                   // called at rest, after Redis executed a request
	heard    func(sent, delivered []*exchange) // called at rest, with the traffic since the last call
	wake     chan struct{}                     // capacity 1; signals a new event

	mu              sync.Mutex         // never held across a wait
	events          eventHeap          // guarded by mu
	posted          uint64             // guarded by mu
	down            bool               // guarded by mu; Redis is away
	calm            bool               // guarded by mu; faults are over
	links           map[*link]struct{} // guarded by mu
	sent, delivered []*exchange        // guarded by mu; not yet passed to heard
	lastDown        time.Time          // guarded by mu; the last instant at which Redis was away
}

func newNetwork(c chance, r rates, server func() (net.Conn, error)) *network {
	return &network{
		chance: c, rates: r, start: time.Now(), server: server,
		wake: make(chan struct{}, 1), links: make(map[*link]struct{}),
	}
}

// event is something that happens at one instant: a request reaches Redis, a reply reaches a process, a fault strikes.
type event struct {
	at   time.Time
	rank uint64 // orders events of the same instant
	seq  uint64 // orders events of the same rank, as they were posted
	proc *process
	do   func()    // for faults; runs at rest and must not block
	fire chan bool // for traffic: true when it arrives, false when it is lost
	x    *exchange // set for a request that arrives at Redis
}

// deliver delivers the events until ctx is done, and then drops all traffic. It is the only caller of synctest.Wait.
func (n *network) deliver(ctx context.Context) {
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

// note runs do with the network locked.
func (n *network) note(do func(*network)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	do(n)
}

// tell calls heard with the new traffic.
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

// next returns the event that is due, or nil and the time until the next one.
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

// post adds an event. While Redis is away, it drops traffic immediately.
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

// at runs do at rest, at d after the start.
func (n *network) at(d time.Duration, do func()) {
	n.post(&event{at: n.start.Add(d), do: do})
}

// shut closes all connections permanently.
func (n *network) shut() { n.setDown(true) }

// setDown stops Redis or makes it available again. Stopping it drops all traffic in flight.
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

// lose drops the matching events, and returns the matching links in no particular order.
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
	// Mark all links as gone first. Otherwise a client that sees one failure could take another dead link from its pool.
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

// process is the network's record of one simulated operating-system process.
type process struct {
	name   string
	net    *network
	paused bool           // guarded by net.mu
	dead   bool           // guarded by net.mu
	shelf  []*event       // guarded by net.mu; traffic held back during a pause
	times  map[string]int // guarded by net.mu; how often each request was sent
	full   *fullWorker    // guarded by net.mu; nil unless the process runs a full worker
}

func (n *network) process(name string) *process {
	return &process{name: name, net: n, times: make(map[string]int)}
}

// kill disconnects the process permanently. Nothing that it sends from now on arrives. Requests already on their way may arrive.
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

// gone reports whether the process was killed. Unlimited retry loops check it.
func (p *process) gone() bool {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	return p.dead
}

// reset breaks every connection of the process and drops its traffic in flight.
func (p *process) reset() {
	for _, l := range p.net.lose(func(e *event) bool { return e.proc == p }, func(l *link) bool { return l.proc == p }) {
		l.reset()
	}
}

// pause holds back all traffic of the process until resume. Its goroutines continue to run, but nothing they send arrives.
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

// verdict is the fate of one request and its reply.
type verdict struct {
	there, back            time.Duration
	rank                   uint64
	loseRequest, loseReply bool
}

// verdict draws the fate of a request. It depends on the content and on how often the process has sent the same request before.
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

// jitter returns the process's random number for backoff. It depends only on the instant, so that the order of the goroutines has
// no influence.
func (p *process) jitter() float64 {
	return p.net.chance.on("jitter", p.name, strconv.FormatInt(int64(time.Since(p.net.start)), 10)).Float64()
}

// dial connects the process to Redis.
func (p *process) dial(context.Context, string, string) (net.Conn, error) {
	p.net.mu.Lock()
	refused := p.net.down || p.dead
	p.net.mu.Unlock()
	if refused {
		// Without this delay, the client's own timers would fire at the same instants as those of its callers.
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

// eventHeap is a heap (container/heap) with the next event at its root.
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

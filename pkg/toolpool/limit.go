package toolpool

import (
	"container/heap"
	"context"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// startsLast is how long starts that a cluster's bucket gave may be used; what is left then is lost.
	startsLast = time.Second
	// leaseSpan bounds how many starts one process takes at once: what the bucket gains in this time.
	leaseSpan = 200 * time.Millisecond
	// minPoll is the least wait between two questions to an empty bucket.
	minPoll = 20 * time.Millisecond
)

// gate orders the executions of one limited tool in this process: the callers with the least rank first, then those
// that came first. Rates are the cluster's: starts are taken from its bucket several at a time, so that a busy tool does
// not cost a round trip for each call.
type gate struct {
	limit   Limit
	bucket  Bucket
	cluster Cluster       // nil without one
	alone   *rate.Limiter // used without the cluster

	mu      sync.Mutex
	queue   tickets   // guarded by mu
	came    uint64    // guarded by mu: numbers tickets
	running int       // guarded by mu
	starts  int       // guarded by mu: taken and not used
	until   time.Time // guarded by mu: when starts is void
	used    int       // guarded by mu: starts used since window
	window  time.Time // guarded by mu
	pumping bool      // guarded by mu: a goroutine is asking the bucket
	idle    func()    // guarded by mu: ends that goroutine's wait, when nobody waits any more
	nodes   int       // guarded by mu: processes that share the bucket, as last told
	changed chan struct{}
}

// newGate is nil if the limit is none.
func newGate(name string, l Limit, c Cluster) *gate {
	if l == (Limit{}) {
		return nil
	}
	if l.Burst <= 0 {
		l.Burst = max(1, int(l.PerSecond))
	}
	g := &gate{limit: l, bucket: Bucket{Name: name, PerSecond: l.PerSecond, Burst: l.Burst}, cluster: c, nodes: 1, changed: make(chan struct{}, 1)}
	if l.PerSecond > 0 {
		g.alone = rate.NewLimiter(rate.Limit(l.PerSecond), l.Burst)
	}
	return g
}

// ticket is one execution that waits.
type ticket struct {
	rank   int
	number uint64
	at     int           // in the heap; -1 once out of it
	ready  chan struct{} // closed when it may start
}

// enter waits until the execution may start. release ends its share of the limit.
func (p *Pool) enter(ctx context.Context, f *flight, r *request) (release func(), err error) {
	g := r.entry.gate
	if g == nil {
		return func() {}, nil
	}
	g.mu.Lock()
	g.came++
	t := &ticket{number: g.came, ready: make(chan struct{})}
	g.mu.Unlock()

	p.mu.Lock()
	t.rank = f.rank
	f.onRaised = func(rank int) { g.raise(t, rank) }
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		f.onRaised = nil
		p.mu.Unlock()
	}()

	g.mu.Lock()
	heap.Push(&g.queue, t)
	g.dispatch()
	g.mu.Unlock()
	select {
	case <-t.ready:
		return g.release, nil
	case <-ctx.Done():
		g.withdraw(t)
		return nil, context.Cause(ctx)
	}
}

// waiting is how many executions wait.
func (g *gate) waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.queue)
}

func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running--
	g.dispatch()
}

func (g *gate) withdraw(t *ticket) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.at >= 0 {
		heap.Remove(&g.queue, t.at)
	} else {
		g.running-- // it was let in while its caller left
	}
	g.dispatch()
	if len(g.queue) == 0 && g.pumping {
		g.idle()
	}
}

func (g *gate) raise(t *ticket, rank int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t.rank = min(t.rank, rank)
	if t.at >= 0 && t.at < len(g.queue) && g.queue[t.at] == t {
		heap.Fix(&g.queue, t.at)
	}
}

// dispatch lets in whom the limits allow. The caller holds mu.
func (g *gate) dispatch() {
	for len(g.queue) > 0 && (g.limit.Concurrency == 0 || g.running < g.limit.Concurrency) {
		if g.limit.PerSecond > 0 && !g.useStart() {
			break
		}
		t := heap.Pop(&g.queue).(*ticket)
		g.running++
		close(t.ready)
	}
	if g.limit.PerSecond > 0 && len(g.queue) > 0 && !g.pumping {
		ctx, idle := context.WithCancel(context.Background())
		g.pumping, g.idle = true, idle
		go g.pump(ctx)
	}
	select {
	case g.changed <- struct{}{}:
	default:
	}
}

// useStart takes one of the starts that are at hand. The caller holds mu.
func (g *gate) useStart() bool {
	now := time.Now()
	if g.starts <= 0 || now.After(g.until) {
		return false
	}
	g.starts--
	if now.Sub(g.window) > leaseSpan {
		g.window, g.used = now, 0
	}
	g.used++
	return true
}

// pump brings starts as long as somebody waits for one, and then ends.
func (g *gate) pump(ctx context.Context) {
	for {
		g.mu.Lock()
		if len(g.queue) == 0 {
			g.idle()
			g.pumping = false
			g.mu.Unlock()
			return
		}
		if ctx.Err() != nil { // all had left, and others came
			ctx, g.idle = context.WithCancel(context.Background())
		}
		blocked := g.limit.Concurrency > 0 && g.running >= g.limit.Concurrency
		n := g.wanted()
		g.mu.Unlock()
		if blocked {
			<-g.changed // somebody leaves, or gives up
			continue
		}
		grant := g.take(ctx, n)
		g.mu.Lock()
		if grant.Starts > 0 {
			g.starts, g.until = grant.Starts, time.Now().Add(startsLast)
		}
		g.dispatch()
		still := len(g.queue) > 0
		g.mu.Unlock()
		if grant.Starts < n && still {
			sleep(ctx, grant.Wait)
		}
	}
}

// wanted is how many starts to ask for: for all who wait, or as many as a busy tool used lately, but never more than
// the bucket gains in a moment. The caller holds mu.
func (g *gate) wanted() int {
	n := len(g.queue)
	if time.Since(g.window) <= 2*leaseSpan {
		n = max(n, g.used/4)
	}
	return max(1, min(n, int(g.limit.PerSecond*leaseSpan.Seconds())))
}

// take asks the cluster's bucket, or without one this process' share of it.
func (g *gate) take(ctx context.Context, n int) Grant {
	if g.cluster != nil {
		asking, cancel := context.WithTimeout(ctx, time.Second)
		grant, err := g.cluster.Take(asking, g.bucket, n)
		cancel()
		if err == nil {
			g.mu.Lock()
			g.nodes = max(1, grant.Nodes)
			g.mu.Unlock()
			grant.Wait = max(grant.Wait, minPoll)
			return grant
		}
		if ctx.Err() != nil {
			return Grant{} // nobody waits any more
		}
		// The cluster is away: each process gets its part of the rate.
		g.mu.Lock()
		g.alone.SetLimit(rate.Limit(g.limit.PerSecond / float64(g.nodes)))
		g.alone.SetBurst(max(1, g.limit.Burst/g.nodes))
		g.mu.Unlock()
	}
	now, got := time.Now(), 0
	for got < n && g.alone.AllowN(now, 1) {
		got++
	}
	wait := time.Duration(float64(time.Second) / math.Max(float64(g.alone.Limit()), 1e-6))
	return Grant{Starts: got, Wait: min(wait, time.Second)}
}

// tickets is a heap: least rank first, then first come.
type tickets []*ticket

func (q tickets) Len() int { return len(q) }
func (q tickets) Less(i, j int) bool {
	if q[i].rank != q[j].rank {
		return q[i].rank < q[j].rank
	}
	return q[i].number < q[j].number
}
func (q tickets) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}
func (q *tickets) Push(x any) {
	t := x.(*ticket)
	t.at = len(*q)
	*q = append(*q, t)
}
func (q *tickets) Pop() any {
	old := *q
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	t.at = -1
	return t
}

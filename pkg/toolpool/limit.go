package toolpool

import (
	"container/heap"
	"context"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/batchagent/batchagent/pkg/sleep"
)

const (
	// startsLast is the lifetime of starts from a cluster's bucket. Unused starts are lost after it.
	startsLast = time.Second
	// leaseSpan limits the starts that one process takes at once to the bucket's gain in this time.
	leaseSpan = 200 * time.Millisecond
	// minPoll is the shortest wait between two requests to an empty bucket.
	minPoll = 20 * time.Millisecond
)

// gate orders the executions of one limited tool in this process: lowest rank first, then in order of arrival. The
// rate applies to the whole cluster. A gate takes several starts at a time from the cluster's bucket, so that a busy
// tool does not need a round trip per call.
type gate struct {
	limit   Limit
	bucket  Bucket
	cluster Cluster       // nil for a pool without one
	alone   *rate.Limiter // used without the cluster

	mu      sync.Mutex
	queue   tickets   // guarded by mu
	came    uint64    // guarded by mu: numbers tickets
	running int       // guarded by mu
	starts  int       // guarded by mu: taken but unused
	until   time.Time // guarded by mu: when starts expires
	used    int       // guarded by mu: starts used since window
	window  time.Time // guarded by mu
	pumping bool      // guarded by mu: a goroutine requests starts from the bucket
	idle    func()    // guarded by mu: ends that goroutine's wait when the queue is empty
	nodes   int       // guarded by mu: processes that share the bucket, from the last grant
	changed chan struct{}
}

// newGate returns nil for a zero limit.
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

// ticket is one waiting execution.
type ticket struct {
	rank   int
	number uint64
	at     int           // in the heap; -1 outside of it
	ready  chan struct{} // closed when it may start
}

// enter waits until the execution may start. The caller must call release after the execution.
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

// waiting returns the number of waiting executions.
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

// dispatch starts the first tickets in the queue that the limits allow. The caller holds mu.
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

// useStart uses one of the taken starts. It returns false without a valid one. The caller holds mu.
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

// pump takes starts from the bucket until the queue is empty.
func (g *gate) pump(ctx context.Context) {
	for {
		g.mu.Lock()
		if len(g.queue) == 0 {
			g.idle()
			g.pumping = false
			g.mu.Unlock()
			return
		}
		if ctx.Err() != nil { // all callers had left, and others came
			ctx, g.idle = context.WithCancel(context.Background())
		}
		blocked := g.limit.Concurrency > 0 && g.running >= g.limit.Concurrency
		n := g.wanted()
		g.mu.Unlock()
		if blocked {
			<-g.changed // until an execution ends or a caller leaves
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
			_ = sleep.For(ctx, grant.Wait)
		}
	}
}

// wanted returns how many starts to request: the length of the queue, or a quarter of the recent use if that is more.
// It never requests more than the bucket gains in leaseSpan. The caller holds mu.
func (g *gate) wanted() int {
	n := len(g.queue)
	if time.Since(g.window) <= 2*leaseSpan {
		n = max(n, g.used/4)
	}
	return max(1, min(n, int(g.limit.PerSecond*leaseSpan.Seconds())))
}

// take requests starts from the cluster's bucket. Without a reachable cluster it uses this process' share of the rate.
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
			return Grant{} // the queue is empty
		}
		// The cluster is unreachable: each process gets its share of the rate.
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

// tickets is a heap, lowest rank first, then in order of arrival.
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

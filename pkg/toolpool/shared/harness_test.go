package shared_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/shared"
)

// world is the environment of a scenario: one server, and processes that share calls through it. Inside a bubble time
// is simulated. On a real server time passes, so leases are short.
type world struct {
	*testing.T
	url    string
	dial   testredis.Dialer // nil is the network
	raw    redis.UniversalClient
	lease  time.Duration
	fake   bool
	script func(name, text string) string

	mu    sync.Mutex
	nodes int
	runs  []*execution // guarded by mu
}

// execution is one run of a tool.
type execution struct {
	number       int // its place in world.runs
	node, arg    string
	began, ended time.Time // ended is zero while it runs
}

// unit is long against a round trip and short against a lease.
func (w *world) unit() time.Duration { return w.lease / 20 }

// node is one process: a pool and its part in the cluster.
type node struct {
	w      *world
	name   string
	pool   *toolpool.Pool
	sharer *shared.Sharer
	cable  *cable
	line   *testredis.Line
	store  *statestore.Store
}

// node starts a process with the tool t.
func (w *world) node(tools ...toolpool.Tool) *node {
	w.Helper()
	w.mu.Lock()
	w.nodes++
	n := &node{w: w, name: fmt.Sprintf("node-%d", w.nodes)}
	w.mu.Unlock()
	n.cable = &cable{dial: w.dial, conns: map[net.Conn]bool{}}
	n.line = testredis.NewLine(n.cable.connect)
	var err error
	n.store, err = statestore.Open(w.Context(), w.url, statestore.Options{Dialer: n.line.Dial, PoolSize: 4})
	require.NoError(w, err)
	commands, blocking := n.store.Clients()
	n.sharer, err = shared.New(shared.Config{Commands: commands, Blocking: blocking, Name: n.name, Lease: w.lease, Script: w.script})
	require.NoError(w, err)
	n.pool, err = toolpool.New(toolpool.Config{Cluster: n.sharer})
	require.NoError(w, err)
	for _, t := range tools {
		require.NoError(w, n.pool.Register(t))
	}
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*w.lease)
		defer cancel()
		n.sharer.Close(ctx)
		_ = n.store.Close()
		if w.fake {
			_ = sleep.For(context.Background(), 2*time.Second) // the client's dialer checks once a second whether it is closed
		}
	})
	return n
}

// tool returns a tool that takes d. Its result names the node and the number of the execution.
func (w *world) tool(share toolpool.Share, d time.Duration) func(n *string) toolpool.Tool {
	return func(name *string) toolpool.Tool {
		return toolpool.Tool{
			Name: "t", Description: "test", Parameters: json.RawMessage(`{"type":"object"}`), Share: share, TTL: 4 * w.lease,
			Run: func(ctx context.Context, args json.RawMessage) (string, error) {
				e := w.begin(*name, string(args))
				err := sleep.For(ctx, d)
				w.over(e)
				if err != nil {
					return "", err
				}
				return fmt.Sprintf("%s %s", *name, e.began.Format(time.RFC3339Nano)), nil
			},
		}
	}
}

func (w *world) begin(node, arg string) *execution {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := &execution{number: len(w.runs), node: node, arg: arg, began: time.Now()}
	w.runs = append(w.runs, e)
	return e
}

func (w *world) over(e *execution) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.ended = time.Now()
}

// executions returns how many executions have begun.
func (w *world) executions() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.runs)
}

// with starts a process with one tool.
func (w *world) with(make func(name *string) toolpool.Tool) *node {
	w.Helper()
	name := new(string)
	n := w.node(make(name))
	*name = n.name
	return n
}

// call calls the tool t and requires a result.
func (n *node) call(args string) toolpool.Result {
	n.w.Helper()
	r, err := n.pool.Call(n.w.Context(), toolpool.Call{Name: "t", Arguments: args})
	assert.NoError(n.w, err)
	return r
}

// callers starts k simultaneous calls. The returned function waits for all results.
func (n *node) callers(k int, args string) func() []toolpool.Result {
	var mu sync.Mutex
	var results []toolpool.Result
	var wg sync.WaitGroup
	for range k {
		wg.Go(func() {
			r := n.call(args)
			mu.Lock()
			defer mu.Unlock()
			results = append(results, r)
		})
	}
	return func() []toolpool.Result {
		wg.Wait()
		return results
	}
}

func (n *node) stats() toolpool.Stats { return n.pool.Stats()["t"] }

// pass waits for d.
func (w *world) pass(d time.Duration) { _ = sleep.For(w.Context(), d) }

// until waits until ok returns true.
func (w *world) until(ok func() bool, what string) {
	w.Helper()
	for end := time.Now().Add(40 * w.lease); !ok(); w.pass(w.lease / 50) {
		if time.Now().After(end) {
			require.FailNow(w, "timed out waiting for "+what)
		}
	}
}

// cable is a process' connection to the server, which can be cut.
type cable struct {
	dial testredis.Dialer

	mu    sync.Mutex
	cut   bool              // guarded by mu
	conns map[net.Conn]bool // guarded by mu
}

var errCut = errors.New("the cable is cut")

func (c *cable) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		return nil, errCut
	}
	dial := c.dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(ctx, network, addr)
	if err == nil {
		c.conns[conn] = true
	}
	return conn, err
}

// Cut closes all connections and refuses new ones until Mend.
func (c *cable) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	for conn := range c.conns {
		_ = conn.Close()
	}
	clear(c.conns)
}

func (c *cable) Mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = false
}

// slowLease is the lease on real servers, in real time. Scenarios wait for fractions of it, and a busy machine may delay any step.
const slowLease = 2 * time.Second

// scenario is a behaviour that must hold on every server.
type scenario struct {
	name string
	run  func(*world)
}

// bubble returns a world inside a synctest bubble.
func bubble(t *testing.T, script func(name, text string) string) *world {
	t.Helper()
	dial, _ := testredis.Pipe(t)
	raw := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", Dialer: dial, PoolSize: 1, MaxRetries: -1})
	t.Cleanup(func() { _ = raw.Close() })
	return &world{T: t, url: testredis.PipeURL, dial: dial, raw: raw, lease: 5 * time.Second, fake: true, script: script}
}

func TestConformanceMiniredis(t *testing.T) {
	t.Parallel()
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { s.run(bubble(t, nil)) })
		})
	}
}

func TestConformanceRedis(t *testing.T) {
	t.Parallel()
	server := testredis.Server(t, testredis.Config("databases", "64"))
	// Scenarios mostly wait, so run more of them at a time than there are processors.
	var all sync.WaitGroup
	room := make(chan struct{}, 16)
	for i, s := range scenarios {
		all.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			t.Run(s.name, func(t *testing.T) {
				url := fmt.Sprintf("%s/%d", server.URL(), i+1)
				o, err := redis.ParseURL(url)
				require.NoError(t, err)
				raw := redis.NewClient(o)
				t.Cleanup(func() { _ = raw.Close() })
				s.run(&world{T: t, url: url, raw: raw, lease: slowLease})
			})
		})
	}
	all.Wait()
}

// TestConformanceCluster runs the scenarios without cut cables on a Redis Cluster. Keys of one call share a slot;
// inboxes are in other slots.
func TestConformanceCluster(t *testing.T) {
	t.Parallel()
	nodes := testredis.Cluster(t)
	for _, s := range clusterScenarios {
		t.Run(s.name, func(t *testing.T) {
			raw := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[0].Addr()}})
			t.Cleanup(func() { _ = raw.Close() })
			require.NoError(t, raw.ForEachMaster(t.Context(), func(ctx context.Context, c *redis.Client) error { return c.FlushAll(ctx).Err() }))
			s.run(&world{T: t, url: nodes[0].URL(), raw: raw, lease: slowLease})
		})
	}
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/builtin"
	"github.com/batchagent/batchagent/pkg/toolpool/shared"
)

// order is the task of a worker process.
type order struct {
	Redis, Name, Dir, Out string
	Begin                 time.Time
	Do                    string // documents, lead, wait or hit
	Agents, Calls, AtOnce int
}

// found is the result of a worker process.
type found struct {
	Calls, Executed int
	Unshared        int // executions that were not shared because Redis did not answer
	Seconds         float64
	Alone           float64 // seconds for the same reads without sharing
	Microseconds    []float64
	PerCall         map[string]float64 // microseconds, by the place of the result
}

func runNode(ctx context.Context, text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	store, err := statestore.Open(ctx, o.Redis, statestore.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	n := &node{order: o, store: store}
	defer n.close(ctx)
	f, err := n.work(ctx)
	if err != nil {
		return err
	}
	data, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return os.WriteFile(o.Out, data, 0o600)
}

type node struct {
	order
	store   *statestore.Store
	sharers []*shared.Sharer
}

func (n *node) close(ctx context.Context) {
	for _, s := range n.sharers {
		s.Close(ctx)
	}
}

// pool returns a pool with one tool, like in a worker.
func (n *node) pool(t toolpool.Tool) (*toolpool.Pool, error) {
	commands, blocking := n.store.Clients()
	s, err := shared.New(shared.Config{Commands: commands, Blocking: blocking, Name: fmt.Sprintf("%s-%d", n.Name, len(n.sharers))})
	if err != nil {
		return nil, err
	}
	n.sharers = append(n.sharers, s)
	p, err := toolpool.New(toolpool.Config{Cluster: s})
	if err != nil {
		return nil, err
	}
	return p, p.Register(t)
}

func (n *node) work(ctx context.Context) (found, error) {
	switch n.Do {
	case "documents":
		return n.documents(ctx)
	case "lead", "wait":
		return n.wake(ctx)
	default:
		return n.hit(ctx)
	}
}

func (n *node) documents(ctx context.Context) (found, error) {
	root, err := os.OpenRoot(n.Dir)
	if err != nil {
		return found{}, err
	}
	defer root.Close()
	tool := builtin.ReadFile(root, nil)
	p, err := n.pool(tool)
	if err != nil {
		return found{}, err
	}
	time.Sleep(time.Until(n.Begin))
	var calls atomic.Int64
	seconds, err := n.readAll(func(args string) error {
		r, err := p.Call(ctx, toolpool.Call{Name: tool.Name, Arguments: args})
		if err == nil && r.Failed {
			err = fmt.Errorf("read: %s", r.Content)
		}
		calls.Add(1)
		return err
	})
	if err != nil {
		return found{}, err
	}
	alone, err := n.readAll(func(args string) error {
		_, err := tool.Run(ctx, json.RawMessage(args))
		return err
	})
	stats := p.Stats()[tool.Name]
	return found{Calls: int(calls.Load()), Executed: int(stats.Executed), Unshared: int(stats.Unshared), Seconds: seconds, Alone: alone}, err
}

// readAll lets every agent read every document, one after the other.
func (n *node) readAll(read func(args string) error) (seconds float64, err error) {
	began := time.Now()
	errs := make([]error, n.Agents)
	var all sync.WaitGroup
	for a := range n.Agents {
		all.Go(func() {
			for i := range documents {
				if err := read(fmt.Sprintf(`{"path":%q}`, document((a+i)%documents))); err != nil {
					errs[a] = err
					return
				}
			}
		})
	}
	all.Wait()
	for _, e := range errs {
		if e != nil {
			return 0, e
		}
	}
	return time.Since(began).Seconds(), nil
}

// takes is the duration of an execution in the wake test.
const takes = 100 * time.Millisecond

// wake runs as the leading or the waiting process. The waiting process calls in the middle of each execution. The tool returns
// the time of its end. On a busy machine the waiting process may call first or too late; such calls are not counted.
func (n *node) wake(ctx context.Context) (found, error) {
	p, err := n.pool(toolpool.Tool{
		Name: "t", Description: "bench", Parameters: json.RawMessage(`{"type":"object"}`), Share: toolpool.Pure,
		Run: func(context.Context, json.RawMessage) (string, error) {
			time.Sleep(takes)
			return strconv.FormatInt(time.Now().UnixNano(), 10), nil
		},
	})
	if err != nil {
		return found{}, err
	}
	var mu sync.Mutex
	var f found
	for i := range n.Calls / n.AtOnce {
		at := n.Begin.Add(time.Duration(i) * 2 * takes)
		if n.Do == "wait" {
			at = at.Add(takes / 2)
		}
		time.Sleep(time.Until(at))
		var all sync.WaitGroup
		for k := range n.AtOnce {
			all.Go(func() {
				r, err := p.Call(ctx, toolpool.Call{Name: "t", Arguments: fmt.Sprintf(`{"n":%d,"k":%d}`, i, k)})
				got := time.Now().UnixNano()
				ended, bad := strconv.ParseInt(r.Content, 10, 64)
				mu.Lock()
				defer mu.Unlock()
				if err == nil && bad == nil && r.Source == toolpool.FromCluster {
					f.Microseconds = append(f.Microseconds, float64(got-ended)/1000)
				}
			})
		}
		all.Wait()
	}
	f.Executed = int(p.Stats()["t"].Executed)
	return f, nil
}

// hit makes calls one after the other, with results in the process, in Redis, and from a tool that does nothing.
func (n *node) hit(ctx context.Context) (found, error) {
	content := string(text(4000))
	tool := toolpool.Tool{
		Name: "t", Description: "bench", Parameters: json.RawMessage(`{"type":"object"}`), Share: toolpool.Pure,
		Run: func(context.Context, json.RawMessage) (string, error) { return content, nil },
	}
	first, err := n.pool(tool)
	if err != nil {
		return found{}, err
	}
	second, err := n.pool(tool)
	if err != nil {
		return found{}, err
	}
	lone, err := toolpool.New(toolpool.Config{CacheEntries: n.Calls + 1, CacheBytes: 1 << 30})
	if err != nil {
		return found{}, err
	}
	if err := lone.Register(tool); err != nil {
		return found{}, err
	}
	asks := func(p *toolpool.Pool) func(int) error {
		return func(i int) error {
			_, err := p.Call(ctx, toolpool.Call{Name: "t", Arguments: fmt.Sprintf(`{"path":"a/%d.go"}`, i)})
			return err
		}
	}
	commands, _ := n.store.Clients()
	if err := commands.Set(ctx, "bench:get", content, 0).Err(); err != nil {
		return found{}, err
	}
	f := found{PerCall: map[string]float64{}}
	for _, arm := range []struct {
		name string
		do   func(int) error
	}{
		{"get", func(int) error { return get(ctx, commands) }},
		{"miss without a cluster", asks(lone)},
		{"miss", asks(first)},
		{"redis", asks(second)},
		{"process", func(int) error { return asks(second)(n.Calls - 1) }},
	} {
		began := time.Now()
		for i := range n.Calls {
			if err := arm.do(i); err != nil {
				return f, err
			}
		}
		f.PerCall[arm.name] = float64(time.Since(began).Microseconds()) / float64(n.Calls)
	}
	if s := second.Stats()["t"]; s.Executed != 0 || s.Cached != int64(2*n.Calls) {
		return f, fmt.Errorf("the second pool must find all results in Redis: %+v", s)
	}
	return f, nil
}

func get(ctx context.Context, c redis.Cmdable) error { return c.Get(ctx, "bench:get").Err() }

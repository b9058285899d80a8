package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"github.com/batchagent/batchagent/bench/internal/figures"
	"github.com/batchagent/batchagent/internal/processkit"
)

type options struct {
	rounds, wakes, hits int
}

const (
	agents    = 100
	documents = 10
)

func main() {
	var o options
	var node string
	smoke := flag.Bool("smoke", false, "one small round that only checks for errors")
	flag.IntVar(&o.rounds, "rounds", 5, "runs of each arm")
	flag.IntVar(&o.wakes, "wakes", 128, "executions to wait for, per round")
	flag.IntVar(&o.hits, "hits", 5000, "calls with an existing result, per round")
	flag.StringVar(&node, "node", "", "run as a worker process with this order (JSON)")
	flag.Parse()
	if *smoke {
		o = options{rounds: 1, wakes: 128, hits: 100}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := func() error {
		if node != "" {
			return runNode(ctx, node)
		}
		return run(ctx, o)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "tools:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	redis, err := processkit.StartRedis(ctx)
	if err != nil {
		return err
	}
	defer redis.Stop()
	dir, err := os.MkdirTemp("", "bench-tools-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for i := range documents {
		if err := os.WriteFile(filepath.Join(dir, document(i)), text(40_000), 0o600); err != nil {
			return err
		}
	}
	figures.Header(os.Stdout, "github.com/batchagent/batchagent/bench/tools")
	b := &bench{options: o, redis: redis, dir: dir}
	for _, arm := range []func(context.Context) error{b.documents, b.wake, b.hit} {
		if err := arm(ctx); err != nil {
			return err
		}
	}
	fmt.Println()
	fmt.Print(b.summary)
	return nil
}

func document(i int) string { return fmt.Sprintf("document-%d.txt", i) }

// text returns n bytes that compress about as well as prose.
func text(n int) []byte {
	r := rand.New(rand.NewPCG(uint64(n), 3))
	words := make([]string, 2000)
	for i := range words {
		words[i] = fmt.Sprintf("%x", r.Uint32()>>(8*r.IntN(3)))
	}
	var out []byte
	for len(out) < n {
		out = append(out, words[int(float64(len(words))*r.Float64()*r.Float64())]...)
		out = append(out, ' ')
	}
	return out[:n]
}

type bench struct {
	options
	redis   *processkit.Redis
	dir     string
	summary string
}

// together runs nodes concurrently, each with its own order, and returns their results.
func (b *bench) together(ctx context.Context, orders []order) ([]found, error) {
	if err := b.redis.Clear(ctx); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	began := time.Now().Add(300 * time.Millisecond) // all have started by then
	var started []*processkit.Process
	var outputs []string
	for i, o := range orders {
		o.Redis, o.Name, o.Dir, o.Begin = b.redis.URL(), fmt.Sprintf("node-%d", i+1), b.dir, began
		o.Out = filepath.Join(b.dir, o.Name+".json")
		data, err := json.Marshal(o)
		if err != nil {
			return nil, err
		}
		p, err := processkit.Start(self, nil, "-node", string(data))
		if err != nil {
			return nil, err
		}
		defer p.Stop()
		started, outputs = append(started, p), append(outputs, o.Out)
	}
	all := make([]found, len(orders))
	for i, p := range started {
		if err := p.Wait(ctx); err != nil {
			return nil, err
		}
		data, err := os.ReadFile(outputs[i])
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(data, &all[i]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// documents lets every agent read every document.
func (b *bench) documents(ctx context.Context) error {
	for _, processes := range []int{1, 4} {
		var executed, unshared, wall, alone figures.Series
		for range b.rounds {
			var orders []order
			for range processes {
				orders = append(orders, order{Do: "documents", Agents: agents / processes})
			}
			all, err := b.together(ctx, orders)
			if err != nil {
				return err
			}
			sum, lone, longest, without := 0.0, 0.0, 0.0, 0.0
			for _, f := range all {
				if f.Calls != agents/processes*documents {
					return fmt.Errorf("a process made %d calls of %d", f.Calls, agents/processes*documents)
				}
				sum += float64(f.Executed)
				lone += float64(f.Unshared)
				longest = max(longest, f.Seconds)
				without = max(without, f.Alone)
			}
			executed, unshared = append(executed, sum), append(unshared, lone)
			wall, alone = append(wall, longest*1000), append(alone, without*1000)
			figures.Line(os.Stdout, fmt.Sprintf("Documents/processes=%d", processes), agents*documents,
				figures.Value{Number: sum, Unit: "executions"}, figures.Value{Number: lone, Unit: "without-redis"},
				figures.Value{Number: longest * 1000, Unit: "ms"})
		}
		b.summary += fmt.Sprintf("documents, %d process(es): %d reads, executions %s (%s because Redis did not answer), wall ms %s; "+
			"without sharing, wall ms %s\n",
			processes, agents*documents, executed, unshared, wall, alone)
	}
	return nil
}

// wake lets one process run a tool while another waits.
func (b *bench) wake(ctx context.Context) error {
	for _, atOnce := range []int{1, 64} {
		var p50, p99 figures.Series
		for range b.rounds {
			all, err := b.together(ctx, []order{
				{Do: "lead", Calls: b.wakes, AtOnce: atOnce}, {Do: "wait", Calls: b.wakes, AtOnce: atOnce},
			})
			if err != nil {
				return err
			}
			waits := all[1].Microseconds
			if len(waits) < b.wakes/4 {
				return fmt.Errorf("the waiting process ran %d calls itself and waited for only %d: too few for a measurement",
					all[1].Executed, len(waits))
			}
			slices.Sort(waits)
			p50, p99 = append(p50, waits[len(waits)/2]), append(p99, waits[len(waits)*99/100])
			figures.Line(os.Stdout, fmt.Sprintf("Wake/keys=%d", atOnce), len(waits),
				figures.Value{Number: p50[len(p50)-1], Unit: "p50-us"}, figures.Value{Number: p99[len(p99)-1], Unit: "p99-us"})
		}
		b.summary += fmt.Sprintf("wake-up in another process, %d call(s) at a time: p50 us %s, p99 us %s\n", atOnce, p50, p99)
	}
	return nil
}

// hit lets one process fill Redis and another one call.
func (b *bench) hit(ctx context.Context) error {
	series := map[string]figures.Series{}
	for range b.rounds {
		// One process after the other, each with its own pools.
		all, err := b.together(ctx, []order{{Do: "hit", Calls: b.hits}})
		if err != nil {
			return err
		}
		for name, us := range all[0].PerCall {
			series[name] = append(series[name], us)
			figures.Line(os.Stdout, "Hit/from="+name, b.hits, figures.Value{Number: us, Unit: "us/call"})
		}
	}
	for _, name := range []string{"process", "redis", "miss", "miss without a cluster"} {
		b.summary += fmt.Sprintf("pure call, %s: us %s, over a bare GET %s\n", name, series[name], series[name].Over(series["get"]))
	}
	b.summary += fmt.Sprintf("bare GET: us %s\n", series["get"])
	return nil
}

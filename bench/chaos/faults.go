package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"

	"github.com/batchagent/batchagent/pkg/sleep"
)

// kind is a kind of fault.
type kind string

const (
	killWorker    kind = "kill -9 worker"
	killFeeder    kind = "kill -9 feeder"
	killFollower  kind = "kill -9 follower"
	killSim       kind = "kill -9 simulator"
	killRedis     kind = "kill -9 Redis, restart from AOF"
	stopWorker    kind = "SIGSTOP worker, beyond its lease"
	latency       kind = "latency"
	bandwidth     kind = "little bandwidth"
	halfOpen      kind = "half-open connection"
	partition     kind = "partition"
	clientKill    kind = "CLIENT KILL"
	scriptFlush   kind = "SCRIPT FLUSH"
	overloadStorm kind = "503 storm"
)

// kinds is the list from which faults are drawn evenly. Faults of a link are in it once per kind of link.
var kinds = []kind{
	killWorker, killFeeder, killFollower, killSim, killRedis, stopWorker, latency + toRedis, latency + toBackend, bandwidth + toRedis,
	bandwidth + toBackend, halfOpen + toRedis, halfOpen + toBackend, partition + toRedis, partition + toBackend, clientKill, scriptFlush,
	overloadStorm,
}

const (
	toRedis   kind = ", worker to Redis"
	toBackend kind = ", worker to backend"
)

// strike injects faults until the duration is over, and returns how many of each kind struck. Each fault ends by itself after
// some seconds. A fault without a target does not count, and another one is drawn.
func (c *cluster) strike(ctx context.Context, r *rand.Rand) map[kind]int {
	ctx, cancel := context.WithTimeout(ctx, c.duration)
	defer cancel()
	count, kinds := map[kind]int{}, c.kinds()
	for {
		if sleep.For(ctx, between(r, 500*time.Millisecond, 3*time.Second)) != nil {
			return count
		}
		c.tend()
		for range 100 {
			k := kinds[r.IntN(len(kinds))]
			if !c.hit(ctx, k, r) {
				continue
			}
			count[k]++
			if c.verbose {
				fmt.Println("  ", k)
			}
			break
		}
	}
}

// hit injects one fault. It returns false if the fault had no target.
func (c *cluster) hit(ctx context.Context, k kind, r *rand.Rand) bool {
	n, s, b := c.nodes[r.IntN(workers)], c.sims[r.IntN(simulators)], c.batches[r.IntN(batches)]
	last := between(r, 200*time.Millisecond, 2*time.Second)
	link := n.toRedis
	if strings.HasSuffix(string(k), string(toBackend)) {
		link = n.toSim
	}
	switch k {
	case killWorker:
		later(last, func() { _ = n.up() })
		return n.kill()
	case killFeeder:
		return c.killFeeder(ctx, last/4)
	case killFollower:
		return b.follower.kill() // tend restarts it
	case killSim:
		later(last, func() { _ = s.up() })
		return s.kill()
	case killRedis:
		later(last, func() { _ = c.redis.up() })
		return c.redis.kill()
	case stopWorker:
		later(c.lease+c.lease/3+last, func() { n.signal(syscall.SIGCONT) })
		return n.signal(syscall.SIGSTOP)
	case latency + toRedis, latency + toBackend:
		return c.toxic(link, last, `{"name":"t","type":"latency","attributes":{"latency":300,"jitter":200}}`)
	case bandwidth + toRedis, bandwidth + toBackend:
		return c.toxic(link, 2*last, `{"name":"t","type":"bandwidth","attributes":{"rate":20}}`)
	case halfOpen + toRedis, halfOpen + toBackend:
		return c.toxic(link, c.lease+last, `{"name":"t","type":"timeout","attributes":{"timeout":0}}`)
	case partition + toRedis, partition + toBackend:
		if !open(link) {
			return false
		}
		link.Stop()
		later(c.lease+last, func() { _ = link.Start() })
		return true
	case killProgram:
		return c.killOne(r.IntN(1 << 20))
	case clientKill:
		n, err := c.admin.Do(ctx, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Int()
		return err == nil && n > 0
	case scriptFlush:
		return c.admin.ScriptFlush(ctx).Err() == nil
	case overloadStorm:
		was := s.kill()
		_ = s.up("--fault-503-rate", "0.8")
		later(2*last, func() { s.kill(); _ = s.up() })
		return was
	}
	return false
}

// killFeeder kills a feeder during its work. It takes one that runs, or starts the next one early and kills it after a while.
func (c *cluster) killFeeder(ctx context.Context, after time.Duration) bool {
	for _, b := range c.batches {
		if b.known() != "" {
			continue
		}
		if b.feeder.up() != nil || sleep.For(ctx, after) != nil {
			return false
		}
		return b.feeder.kill() // tend restarts it
	}
	return false
}

func open(p *toxiproxy.Proxy) bool {
	p.Lock()
	defer p.Unlock()
	return p.Enabled
}

// toxic disturbs a proxy for a while.
func (c *cluster) toxic(p *toxiproxy.Proxy, last time.Duration, json string) bool {
	if !open(p) {
		return false
	}
	if _, err := p.Toxics.AddToxicJson(strings.NewReader(json)); err != nil {
		return false // it is already disturbed
	}
	later(last, func() { _ = p.Toxics.RemoveToxic(context.Background(), "t") })
	return true
}

// heal ends all remaining faults.
func (c *cluster) heal(ctx context.Context) {
	_ = sleep.For(ctx, 2*c.lease+4*time.Second) // the last faults end by themselves
	_ = c.redis.up()
	for _, s := range c.sims {
		s.kill()
		_ = s.up()
	}
	for _, n := range c.nodes {
		n.signal(syscall.SIGCONT)
		_ = n.up()
		for _, p := range []*toxiproxy.Proxy{n.toRedis, n.toSim} {
			p.Toxics.ResetToxics(ctx)
			_ = p.Start() // an error means that it already runs
		}
	}
	c.tend()
}

func later(d time.Duration, do func()) { time.AfterFunc(d, do) }

func between(r *rand.Rand, lo, hi time.Duration) time.Duration {
	return lo + time.Duration(r.Int64N(int64(hi-lo)))
}

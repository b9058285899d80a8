package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
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

// kinds are drawn from evenly.
var kinds = []kind{
	killWorker, killFeeder, killFollower, killSim, killRedis, stopWorker, latency, bandwidth, halfOpen, partition, clientKill,
	scriptFlush, overloadStorm,
}

// strike lets faults strike until the duration is over, and returns how many of each kind did. What a fault broke is mended by
// itself some seconds later.
func (c *cluster) strike(ctx context.Context, r *rand.Rand) map[kind]int {
	ctx, cancel := context.WithTimeout(ctx, c.duration)
	defer cancel()
	count := map[kind]int{}
	for {
		if !wait(ctx, between(r, 500*time.Millisecond, 3*time.Second)) {
			return count
		}
		c.tend()
		k := kinds[r.IntN(len(kinds))]
		if c.verbose {
			fmt.Println("  ", k)
		}
		count[k]++
		c.hit(ctx, k, r)
	}
}

// hit makes one fault happen.
func (c *cluster) hit(ctx context.Context, k kind, r *rand.Rand) {
	n, s, b := c.nodes[r.IntN(workers)], c.sims[r.IntN(simulators)], c.batches[r.IntN(batches)]
	last := between(r, 200*time.Millisecond, 2*time.Second)
	switch k {
	case killWorker:
		n.kill()
		later(last, func() { _ = n.up() })
	case killFeeder:
		b.feeder.kill() // tend starts it again
	case killFollower:
		b.follower.kill()
	case killSim:
		s.kill()
		later(last, func() { _ = s.up() })
	case killRedis:
		c.redis.kill()
		later(last, func() { _ = c.redis.up() })
	case stopWorker:
		n.signal(syscall.SIGSTOP)
		later(c.lease+c.lease/3+last, func() { n.signal(syscall.SIGCONT) })
	case latency:
		c.toxic(either(r, n), last, `{"name":"t","type":"latency","attributes":{"latency":300,"jitter":200}}`)
	case bandwidth:
		c.toxic(either(r, n), 2*last, `{"name":"t","type":"bandwidth","attributes":{"rate":20}}`)
	case halfOpen:
		c.toxic(either(r, n), c.lease+last, `{"name":"t","type":"timeout","attributes":{"timeout":0}}`)
	case partition:
		p := either(r, n)
		p.Stop()
		later(c.lease+last, func() { _ = p.Start() })
	case clientKill:
		_ = c.admin.Do(ctx, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err()
	case scriptFlush:
		_ = c.admin.ScriptFlush(ctx).Err()
	case overloadStorm:
		s.kill()
		_ = s.up("--fault-503-rate", "0.8")
		later(2*last, func() { s.kill(); _ = s.up() })
	}
}

func either(r *rand.Rand, n *node) *toxiproxy.Proxy {
	if r.IntN(2) == 0 {
		return n.toRedis
	}
	return n.toSim
}

// toxic disturbs a proxy for a while.
func (c *cluster) toxic(p *toxiproxy.Proxy, last time.Duration, json string) {
	if _, err := p.Toxics.AddToxicJson(strings.NewReader(json)); err != nil {
		return // it is disturbed already
	}
	later(last, func() { _ = p.Toxics.RemoveToxic(context.Background(), "t") })
}

// heal ends what is still broken.
func (c *cluster) heal(ctx context.Context) {
	wait(ctx, 2*c.lease+4*time.Second) // the last faults mend themselves
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
			_ = p.Start() // an error says that it runs
		}
	}
	c.tend()
}

func later(d time.Duration, do func()) { time.AfterFunc(d, do) }

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func between(r *rand.Rand, lo, hi time.Duration) time.Duration {
	return lo + time.Duration(r.Int64N(int64(hi-lo)))
}

package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// probes are the tools of one worker process, with a record of their executions.
type probes struct {
	world *world
	proc  *process
	share toolpool.Share // of the tool "probe"

	// Guarded by proc.net.mu.
	runs    map[string]int  // started executions, by tool and arguments
	running map[string]int  // executions in progress
	known   map[string]bool // executions that succeeded
	effects int             // executions of "effect"
}

func newProbes(w *world, p *process) *probes {
	return &probes{
		world: w, proc: p, share: w.cfg.share,
		runs: make(map[string]int), running: make(map[string]int), known: make(map[string]bool),
	}
}

// pool registers the tools.
func (t *probes) pool() (*toolpool.Pool, error) {
	pool, err := toolpool.New(toolpool.Config{})
	if err != nil {
		return nil, err
	}
	parameters := json.RawMessage(`{"type":"object","properties":{"at":{"type":"integer"}},"required":["at"],"additionalProperties":false}`)
	probe := toolpool.Tool{Name: "probe", Description: "looks", Parameters: parameters, Share: t.share, Run: t.tool("probe")}
	if t.share == toolpool.ForTTL {
		probe.TTL = t.world.cfg.lease
	}
	effect := toolpool.Tool{Name: "effect", Description: "does", Parameters: parameters, Share: toolpool.Effect, Run: t.tool("effect")}
	return pool, errors.Join(pool.Register(probe), pool.Register(effect))
}

// tool returns the function of a tool. The seed determines whether it succeeds, fails or hangs.
func (t *probes) tool(name string) func(context.Context, json.RawMessage) (string, error) {
	return func(ctx context.Context, args json.RawMessage) (string, error) {
		key := name + " " + string(args)
		nth := t.begin(name, key)
		draw := t.world.chance.on("tool", t.proc.name, key, strconv.Itoa(nth))
		took := between(draw, time.Millisecond, t.world.cfg.toolTime)
		fate := draw.Float64()
		if t.world.net.isCalm() {
			fate = 1
		}
		if fate < t.world.cfg.toolFaults/2 {
			took = 24 * time.Hour // it hangs until its context ends
		}
		err := sleep.For(ctx, took)
		if err == nil && fate < t.world.cfg.toolFaults {
			err = errors.New("nothing there")
		}
		t.end(key, err == nil)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%s was here", args), nil
	}
}

// begin records an execution and checks I6: one execution per key and sharing window. The window is one process.
func (t *probes) begin(name, key string) (nth int) {
	t.proc.net.mu.Lock()
	running, known := t.running[key], t.known[key]
	t.runs[key]++
	nth = t.runs[key]
	t.running[key]++
	if name == "effect" {
		t.effects++
	}
	dead := t.proc.dead
	t.proc.net.mu.Unlock()
	switch {
	case dead || name == "effect":
	case running > 0:
		t.world.accuse("I6", "%s runs %s while the same call is running", t.proc.name, key)
	case known && t.share == toolpool.Pure:
		t.world.accuse("I6", "%s runs %s again although it has the result", t.proc.name, key)
	}
	return nth
}

func (t *probes) end(key string, well bool) {
	t.proc.net.mu.Lock()
	defer t.proc.net.mu.Unlock()
	t.running[key]--
	if well {
		t.known[key] = true
	}
}

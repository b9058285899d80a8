package main

import (
	"maps"
	"runtime"
	"time"

	"github.com/batchagent/batchagent/bench/internal/nodes"
	"github.com/batchagent/batchagent/internal/processkit"
)

// full is the share of the machine's processors above which a run measures them rather than the programs. It applies to the
// average, so peaks are higher.
const full = 0.75

// load is the average use of processors. 1 is one processor all the time.
type load struct {
	machine                 float64 // all programs on it, including unrelated ones
	workers, servers, redis float64
}

func (l load) full() bool { return l.machine > full*float64(runtime.NumCPU()) }

// meter measures a load from its creation on.
type meter struct {
	began   time.Time
	machine time.Duration
	redis   *processkit.Process
	nodes   []nodes.Node
	used    map[*processkit.Process]time.Duration // at the start of the measurement
	last    map[*processkit.Process]time.Duration // when it was killed
}

func startLoad(redis *processkit.Process, all []nodes.Node) (*meter, error) {
	m := &meter{redis: redis, nodes: all, used: map[*processkit.Process]time.Duration{}, last: map[*processkit.Process]time.Duration{}, began: time.Now()}
	for _, n := range all {
		m.used[n.Worker], m.used[n.Server] = n.Worker.CPU(), n.Server.CPU()
	}
	m.used[redis] = redis.CPU()
	var err error
	m.machine, err = processkit.MachineCPU()
	return m, err
}

// note records the processor time of a process that is about to be killed.
func (m *meter) note(p *processkit.Process) { m.last[p] = p.CPU() }

func (m *meter) end() (l load, err error) {
	wall := time.Since(m.began).Seconds()
	machine, err := processkit.MachineCPU()
	if err != nil {
		return l, err
	}
	now := maps.Clone(m.last)
	for p := range m.used {
		if _, dead := now[p]; !dead {
			now[p] = p.CPU()
		}
	}
	per := func(p *processkit.Process) float64 { return (now[p] - m.used[p]).Seconds() / wall }
	l.machine, l.redis = (machine-m.machine).Seconds()/wall, per(m.redis)
	for _, n := range m.nodes {
		l.workers += per(n.Worker)
		l.servers += per(n.Server)
	}
	return l, nil
}

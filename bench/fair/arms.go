package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/batchagent/batchagent/internal/processkit"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// arm is one way to run a batch.
type arm struct {
	name   string
	engine bool // an arm of batchagent: every job must be ok
	run    func(ctx context.Context, specPath string, n int) (outcome, error)
	cpu    func() time.Duration // of everything except the simulators
	stop   func()
}

func start(ctx context.Context, name string, s settings, sims *simulators) (arm, error) {
	switch name {
	case "cluster":
		return startCluster(ctx, s, sims)
	case "single":
		return startSingle(ctx, s, sims)
	case "gather":
		g := newGather(sims.urls("http"))
		return arm{
			name: name, cpu: ownCPU, stop: func() {},
			run: func(ctx context.Context, _ string, n int) (outcome, error) { return g.callAll(ctx, n) },
		}, nil
	default:
		return arm{}, fmt.Errorf("unknown arm %q", name)
	}
}

// simulators are the servers that all arms use.
type simulators struct {
	addresses []string
	processes []*processkit.Process
}

func startSimulators(ctx context.Context, program string, n int) (*simulators, error) {
	s := &simulators{}
	for range n {
		address, err := processkit.FreeAddress()
		if err != nil {
			s.stop()
			return nil, err
		}
		p, err := processkit.Start(program, nil, "--listen", address, "--forward-ms", "60", "--fault-every", "50")
		if err != nil {
			s.stop()
			return nil, err
		}
		s.processes, s.addresses = append(s.processes, p), append(s.addresses, address)
		err = p.Until(ctx, "it is healthy", func() bool {
			resp, err := http.Get("http://" + address + "/health")
			if err != nil {
				return false
			}
			_ = resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		})
		if err != nil {
			s.stop()
			return nil, err
		}
	}
	return s, nil
}

func (s *simulators) urls(scheme string) []string {
	out := make([]string, len(s.addresses))
	for i, a := range s.addresses {
		out[i] = scheme + "://" + a
	}
	return out
}

func (s *simulators) stop() { stopAll(s.processes) }

func stopAll(processes []*processkit.Process) {
	for _, p := range processes {
		p.Stop()
	}
}

// startCluster starts redis-server and the worker processes. It returns once all are ready.
func startCluster(ctx context.Context, s settings, sims *simulators) (arm, error) {
	self, err := os.Executable()
	if err != nil {
		return arm{}, err
	}
	r, err := processkit.StartRedis(ctx)
	if err != nil {
		return arm{}, err
	}
	var workers []*processkit.Process
	stop := func() {
		stopAll(workers)
		r.Stop()
	}
	store, err := statestore.Open(ctx, r.URL(), statestore.Options{})
	if err != nil {
		stop()
		return arm{}, err
	}
	for i, backend := range sims.urls("vllm") {
		p, err := processkit.Start(self, nil, "-node", "-id", "node-"+strconv.Itoa(i+1), "-redis", r.URL(), "-backend", backend,
			"-slots", strconv.Itoa(s.slots))
		if err != nil {
			stop()
			return arm{}, err
		}
		workers = append(workers, p)
	}
	for _, p := range workers {
		if err := p.Until(ctx, "all workers are ready", func() bool { return ready(ctx, store, len(workers)) }); err != nil {
			stop()
			return arm{}, err
		}
	}
	return arm{
		name: "cluster", engine: true,
		run: func(ctx context.Context, specPath string, n int) (outcome, error) {
			return runBatch(ctx, store, specPath, n)
		},
		cpu: func() time.Duration {
			sum := ownCPU() + r.CPU()
			for _, p := range workers {
				sum += p.CPU()
			}
			return sum
		},
		stop: func() {
			_ = store.Close()
			stop()
		},
	}, nil
}

// startSingle starts one worker in this process, with an embedded Redis.
func startSingle(ctx context.Context, s settings, sims *simulators) (arm, error) {
	m := miniredis.NewMiniRedis()
	if err := m.Start(); err != nil {
		return arm{}, fmt.Errorf("start the embedded Redis: %w", err)
	}
	pipe := func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		m.Server().ServeConn(server)
		return client, nil
	}
	store, err := statestore.Open(ctx, "redis://127.0.0.1:1", statestore.Options{Dialer: pipe})
	if err != nil {
		m.Close()
		return arm{}, err
	}
	workCtx, drain := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- work(workCtx, node{id: "node-1", backend: sims.urls("vllm")[0], slots: s.slots}, store)
	}()
	stop := func() {
		drain()
		<-ended
		_ = store.Close()
		m.Close()
	}
	for !ready(ctx, store, 1) {
		select {
		case err := <-ended:
			ended <- err
			stop()
			return arm{}, fmt.Errorf("the worker ended before it was ready: %w", err)
		case <-ctx.Done():
			stop()
			return arm{}, context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return arm{
		name: "single", engine: true, cpu: ownCPU, stop: stop,
		run: func(ctx context.Context, specPath string, n int) (outcome, error) {
			return runBatch(ctx, store, specPath, n)
		},
	}, nil
}

// ready reports whether n workers claim jobs.
func ready(ctx context.Context, store *statestore.Store, n int) bool {
	workers, err := store.Workers(ctx)
	if err != nil {
		return false
	}
	got := 0
	for _, w := range workers {
		if w.Ready {
			got++
		}
	}
	return got == n
}

// ownCPU returns the processor time of this process.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

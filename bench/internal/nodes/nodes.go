// Package nodes starts simulated model servers with a worker beside each, for benchmarks.
package nodes

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/batchagent/batchagent/internal/processkit"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// Config describes the nodes. All fields but WorkerArgs are required.
type Config struct {
	Programs   string // folder with worker and vllmsim
	Redis      *processkit.Redis
	Store      *statestore.Store // of Redis
	Profile    string            // of vllmsim
	Scale      float64           // how many times as fast as its machine the server is
	WorkerArgs []string          // further arguments of each worker
}

// Node is a worker and its server.
type Node struct{ Worker, Server *processkit.Process }

// Start starts n nodes, node-1 to node-n, and waits until all are ready for jobs. stop ends them. If Start returns an error, it has
// stopped the nodes.
func Start(ctx context.Context, c Config, n int) (all []Node, stop func(), err error) {
	stop = func() {
		for _, node := range all {
			if node.Worker != nil {
				node.Worker.Stop()
			}
			node.Server.Stop()
		}
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	for i := range n {
		address, err := processkit.FreeAddress()
		if err != nil {
			return all, stop, err
		}
		server, err := processkit.Start(filepath.Join(c.Programs, "vllmsim"), nil, "--listen", address, "--profile", c.Profile, "--time-scale", fmt.Sprint(c.Scale))
		if err != nil {
			return all, stop, err
		}
		all = append(all, Node{Server: server})
		if err := server.Until(ctx, "it answers", func() bool { return healthy(ctx, address) }); err != nil {
			return all, stop, err
		}
		args := append([]string{"--redis", c.Redis.URL(), "--backend", "vllm://" + address, "--id", fmt.Sprint("node-", i+1), "--log-level", "warn"}, c.WorkerArgs...)
		if all[i].Worker, err = processkit.Start(filepath.Join(c.Programs, "worker"), nil, args...); err != nil {
			return all, stop, err
		}
	}
	err = c.Redis.Until(ctx, "all workers are ready", func() bool {
		ready := 0
		records, err := c.Store.Workers(ctx)
		for _, r := range records {
			if r.Ready {
				ready++
			}
		}
		return err == nil && ready == n
	})
	return all, stop, err
}

func healthy(ctx context.Context, address string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/health", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

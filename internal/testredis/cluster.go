package testredis

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
)

// slots is how many hash slots a Redis Cluster has.
const slots = 16384

// Cluster starts a Redis Cluster of three masters and waits until all of them serve.
func Cluster(t testing.TB, args ...Arg) []*Process {
	t.Helper()
	nodes := make([]*Process, 3)
	for i := range nodes {
		nodes[i] = newProcess(t, args...)
		nodes[i].busPort = 1 // start chooses the port
		nodes[i].start()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*startWithin)
	defer cancel()
	for i, n := range nodes {
		first, last := i*slots/len(nodes), (i+1)*slots/len(nodes)-1
		if err := n.Client().Do(ctx, "CLUSTER", "ADDSLOTSRANGE", first, last).Err(); err != nil {
			t.Fatalf("give slots %d to %d to node %s: %v", first, last, n.Addr(), err)
		}
		if i > 0 {
			if err := n.Client().Do(ctx, "CLUSTER", "MEET", "127.0.0.1", nodes[0].port, nodes[0].busPort).Err(); err != nil {
				t.Fatalf("join node %s to the cluster: %v", n.Addr(), err)
			}
		}
	}
	for _, n := range nodes {
		c := n.Client()
		if err := poll(ctx, func() error {
			info, err := c.ClusterInfo(ctx).Result()
			if err == nil && !(strings.Contains(info, "cluster_state:ok") &&
				strings.Contains(info, "cluster_known_nodes:"+strconv.Itoa(len(nodes)))) {
				err = errors.New("the cluster is not whole yet")
			}
			return err
		}); err != nil {
			t.Fatalf("wait for cluster node %s: %v", n.Addr(), err)
		}
	}
	return nodes
}

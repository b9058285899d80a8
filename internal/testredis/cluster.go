package testredis

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
)

// slots is the number of hash slots of a Redis Cluster.
const slots = 16384

// Cluster starts a Redis Cluster of three masters. It returns once all of them serve.
func Cluster(t testing.TB, args ...Arg) []*Process {
	t.Helper()
	nodes := make([]*Process, 3)
	for i := range nodes {
		nodes[i] = newProcess(t, args...)
		nodes[i].clustered = true
		nodes[i].start()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*startWithin)
	defer cancel()
	for i, n := range nodes {
		first, last := i*slots/len(nodes), (i+1)*slots/len(nodes)-1
		if err := n.Client().ClusterAddSlotsRange(ctx, first, last).Err(); err != nil {
			t.Fatalf("give slots %d to %d to node %s: %v", first, last, n.Addr(), err)
		}
		if i > 0 {
			if err := n.Client().Do(ctx, "CLUSTER", "MEET", "127.0.0.1", nodes[0].port).Err(); err != nil {
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
				err = errors.New("the cluster is not complete yet")
			}
			return err
		}); err != nil {
			t.Fatalf("wait for cluster node %s: %v", n.Addr(), err)
		}
	}
	return nodes
}

// Replica adds a replica of one node to a cluster. It returns once the replica is in sync and known to every node.
func Replica(t testing.TB, nodes []*Process, of int, args ...Arg) *Process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*startWithin)
	defer cancel()
	primary := nodes[of].Client()
	id, err := primary.ClusterMyID(ctx).Result()
	if err != nil {
		t.Fatalf("ask node %s for its ID: %v", nodes[of].Addr(), err)
	}
	r := newProcess(t, append(args, Config("repl-diskless-sync-delay", "0"))...)
	r.clustered = true
	r.start()
	c := r.Client()
	if err := c.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", nodes[of].port).Err(); err != nil {
		t.Fatalf("join the replica %s to the cluster: %v", r.Addr(), err)
	}
	waitFor(ctx, t, "the replica to know its primary", func() error { return c.ClusterReplicate(ctx, id).Err() })
	waitFor(ctx, t, "the replica to be in sync", func() error {
		info, err := primary.Info(ctx, "replication").Result()
		if err == nil && !strings.Contains(info, "state=online") {
			err = errors.New("it is not in sync yet")
		}
		return err
	})
	for _, n := range nodes {
		client := n.Client()
		waitFor(ctx, t, "node "+n.Addr()+" to know the replica", func() error {
			known, err := client.ClusterNodes(ctx).Result()
			if err == nil && !strings.Contains(known, "slave "+id) {
				err = errors.New("it does not know it yet")
			}
			return err
		})
	}
	return r
}

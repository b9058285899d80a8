package statestore_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// wholeLife plays a batch from its submission to its removal, with a resumed job, a retried failure, a follower and a doorbell.
// It sends every kind of command that the store uses.
func wholeLife(w *world) {
	id := w.createAs(3, time.Hour)
	w.feed(id, 0, 3)
	w.feed(id, 3, 3)
	w.seal(id, 6)
	require.NoError(w, w.store.Ring(w.Context(), statestore.Event{Kind: statestore.JobsWaiting, Batch: id}))
	require.NoError(w, w.store.Register(w.Context(), batch.WorkerRecord{ID: "a", Consumer: "a-1"}, time.Minute))
	active, err := w.store.Active(w.Context())
	require.NoError(w, err)
	require.Contains(w, active, id)

	jobs := w.claim(id, "a", 6)
	require.Len(w, jobs, 6)
	w.checkpoint(jobs[0].Lease, 1, "one")
	w.renew(id, "a", leases(jobs)...)
	w.release(id, jobs[0].Lease)
	again := w.one(id, "b")
	require.Equal(w, []string{"one"}, turns(again))
	w.finish(id, []statestore.Completion{failed(again.Lease, batch.Timeout)}, statestore.Committed)
	w.finish(id, []statestore.Completion{succeeded(jobs[0].Lease)}, statestore.Already)
	require.Equal(w, batch.Done, w.finishAll(id, jobs[1:]))

	n, err := w.store.Retry(w.Context(), id)
	require.NoError(w, err)
	require.EqualValues(w, 1, n)
	require.Equal(w, batch.Done, w.finishAll(id, []statestore.Claimed{w.one(id, "b")}))
	require.Len(w, w.results(id), 6)
	entries, err := w.store.AwaitResults(w.Context(), id, 0, 100, time.Second)
	require.NoError(w, err)
	require.Len(w, entries, 6)
	list, err := w.store.List(w.Context())
	require.NoError(w, err)
	require.NotEmpty(w, list)
	require.NoError(w, w.store.Unregister(w.Context(), "a-1"))
	require.NoError(w, w.store.Remove(w.Context(), id))
}

func TestOpenEveryKindOfAddress(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []testredis.Arg
		url  func(string) string
	}{
		"a database number":      {nil, func(u string) string { return u + "/5" }},
		"a socket file":          {[]testredis.Arg{testredis.Unix()}, nil},
		"a socket and a number":  {[]testredis.Arg{testredis.Unix()}, func(u string) string { return u + "?db=3" }},
		"a password":             {[]testredis.Arg{testredis.Password("", "hunter2")}, nil},
		"a user and a password":  {[]testredis.Arg{testredis.Password("app", "hunter2")}, nil},
		"TLS":                    {[]testredis.Arg{testredis.TLS()}, nil},
		"TLS, user and password": {[]testredis.Arg{testredis.TLS(), testredis.Password("app", "hunter2")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := testredis.Server(t, c.args...).URL()
			if c.url != nil {
				url = c.url(url)
			}
			w := over(t, url)
			assert.NotContains(t, w.store.Address(), "hunter2")
			wholeLife(w)
		})
	}
}

func TestConnectErrorsOmitPasswords(t *testing.T) {
	t.Parallel()
	guarded := testredis.Server(t, testredis.Password("app", "hunter2"))
	encrypted := testredis.Server(t, testredis.TLS())
	for name, c := range map[string]struct{ url, says string }{
		"no server":           {"redis://:hunter3@127.0.0.1:1", "127.0.0.1:1"},
		"a wrong password":    {strings.Replace(guarded.URL(), "hunter2", "hunter3", 1), "WRONGPASS"},
		"no password":         {"redis://" + guarded.Addr(), "NOAUTH"},
		"an unknown issuer":   {strings.Replace(encrypted.URL(), "?skip_verify=true", "", 1), "certificate"},
		"no socket":           {"unix:///nonexistent/redis.sock", "/nonexistent/redis.sock"},
		"sentinels not there": {"redis-sentinel://:hunter3@127.0.0.1:1?master_name=m", "127.0.0.1:1"},
		"cluster not there":   {"redis-cluster://:hunter3@127.0.0.1:1", "127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			_, err := statestore.Open(ctx, c.url, statestore.Options{})
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.says)
			assert.NotContains(t, err.Error(), "hunter")
		})
	}
}

// overCluster returns a world on a cluster. Its scans read every node.
func overCluster(t *testing.T, url string, addrs ...string) *world {
	t.Helper()
	store, err := statestore.Open(t.Context(), url, statestore.Options{})
	require.NoError(t, err)
	raw := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	t.Cleanup(func() {
		require.NoError(t, store.Close())
		require.NoError(t, raw.Close())
	})
	return &world{T: t, store: store, raw: raw, lease: 300 * time.Millisecond}
}

func TestACluster(t *testing.T) {
	t.Parallel()
	nodes := testredis.Cluster(t)
	addrs := []string{nodes[0].Addr(), nodes[1].Addr(), nodes[2].Addr()}
	t.Run("by its own scheme", func(t *testing.T) {
		t.Parallel()
		wholeLife(overCluster(t, "redis-cluster://"+strings.Join(addrs, ","), addrs...))
	})
	t.Run("by the plain address of one node", func(t *testing.T) {
		t.Parallel()
		wholeLife(overCluster(t, nodes[1].URL(), addrs...))
	})
	t.Run("many batches at once, over all nodes", func(t *testing.T) {
		t.Parallel()
		w := overCluster(t, nodes[0].URL(), addrs...)
		var all sync.WaitGroup
		for i := range 12 {
			all.Go(func() {
				id := idOn(t, nodes, i%3)
				w.createID(id, 3, time.Hour)
				w.feed(id, 0, 20)
				w.seal(id, 20)
				for consumer := 0; len(w.results(id)) < 20; consumer++ {
					w.finishAll(id, w.claim(id, fmt.Sprintf("w%d-%d", i, consumer), 7))
				}
				require.NoError(w, w.store.Remove(w.Context(), id))
			})
		}
		all.Wait()
		for _, n := range nodes {
			info, err := n.Client().Info(t.Context(), "commandstats").Result()
			require.NoError(t, err)
			assert.Contains(t, info, "cmdstat_xreadgroup", "node %s served no batch; keys do not spread", n.Addr())
		}
	})
	// It ends before the others begin, because List reads all batches.
	t.Run("a slot that moves", func(t *testing.T) {
		w := overCluster(t, nodes[0].URL(), addrs...)
		id := w.sealed(4)
		jobs := w.claim(id, "a", 2)
		slot, err := nodes[0].Client().ClusterKeySlot(t.Context(), "ba:{"+string(id)+"}:meta").Result()
		require.NoError(t, err)
		moveSlot(t, nodes, slot, func() {
			// Some keys have moved, and meta has not. A script that runs now would end in the middle.
			_, _, err := w.store.Finish(w.Context(), id, []statestore.Completion{succeeded(jobs[0].Lease)})
			require.ErrorIs(t, err, statestore.ErrUnknownOutcome)
		})
		w.finishAll(id, jobs)
		assert.Equal(t, batch.Done, w.finishAll(id, w.claim(id, "a", 10)))
	})
}

// idOn returns a batch ID whose keys are on the given node.
func idOn(t *testing.T, nodes []*testredis.Process, node int) batch.ID {
	t.Helper()
	for {
		id := statestore.NewID(time.Now())
		slot, err := nodes[0].Client().ClusterKeySlot(t.Context(), "ba:{"+string(id)+"}:meta").Result()
		require.NoError(t, err)
		if ownerOf(slot) == node {
			return id
		}
	}
}

// ownerOf returns the node that has a slot at the start.
func ownerOf(slot int64) int {
	owner := 0
	for slot >= int64((owner+1)*16384/3) {
		owner++
	}
	return owner
}

// moveSlot gives a slot and its keys to the node after its owner. It calls halfway before it moves the key meta, the last one.
func moveSlot(t *testing.T, nodes []*testredis.Process, slot int64, halfway func()) {
	t.Helper()
	ctx := t.Context()
	owner := ownerOf(slot)
	from, to := nodes[owner].Client(), nodes[(owner+1)%3].Client()
	idOf := func(c *redis.Client) string {
		id, err := c.ClusterMyID(ctx).Result()
		require.NoError(t, err)
		return id
	}
	require.NoError(t, to.Do(ctx, "CLUSTER", "SETSLOT", slot, "IMPORTING", idOf(from)).Err())
	require.NoError(t, from.Do(ctx, "CLUSTER", "SETSLOT", slot, "MIGRATING", idOf(to)).Err())
	keys, err := from.ClusterGetKeysInSlot(ctx, int(slot), 100).Result()
	require.NoError(t, err)
	host, port, _ := strings.Cut(nodes[(owner+1)%3].Addr(), ":")
	slices.SortFunc(keys, func(a, b string) int { return cmp.Compare(strings.Count(a, ":meta"), strings.Count(b, ":meta")) })
	for _, k := range keys {
		if strings.HasSuffix(k, ":meta") {
			halfway()
		}
		require.NoError(t, from.Do(ctx, "MIGRATE", host, port, k, 0, 5000).Err())
	}
	for _, n := range nodes {
		require.NoError(t, n.Client().Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", idOf(to)).Err())
	}
}

// A server at its memory limit accepts no jobs. Existing batches can be read, collected and removed to make room.
func TestFullServerAllowsReadsAndRemovals(t *testing.T) {
	t.Parallel()
	w := over(t, testredis.Server(t, testredis.Config("maxmemory-policy", "noeviction")).URL())
	id, open := w.sealed(4), w.create()
	done := w.sealed(2)
	w.finishAll(done, w.claim(done, "a", 2))
	jobs := w.claim(id, "a", 3)
	w.checkpoint(jobs[0].Lease, 1, "one")
	w.finish(id, []statestore.Completion{succeeded(jobs[1].Lease), failed(jobs[2].Lease, batch.Timeout)}, statestore.Committed, statestore.Committed)
	require.NoError(t, w.raw.ConfigSet(t.Context(), "maxmemory", "1").Err())

	_, err := w.store.Feed(t.Context(), open, 0, [][]byte{[]byte("{}")})
	require.ErrorIs(t, err, statestore.ErrFull)
	c := w.counts(id)
	assert.Equal(t, []int64{1, 1, 1, 1}, []int64{c.OK, c.Failed, c.Running, c.Waiting})
	view, err := w.store.Inspect(t.Context(), jobs[0].Lease.Job, 10)
	require.NoError(t, err)
	assert.Equal(t, 1, view.Journal)
	list, err := w.store.List(t.Context())
	require.NoError(t, err)
	assert.Len(t, list, 3)
	entries, err := w.store.AwaitResults(t.Context(), id, 0, 10, time.Second)
	require.NoError(t, err)
	require.Len(t, entries, 2)
	timeline, err := w.store.Timeline(t.Context(), id)
	require.NoError(t, err)
	require.NoError(t, w.store.TrimResults(t.Context(), id, entries[0].Cursor, timeline))
	require.Len(t, w.results(id), 1)
	require.NoError(t, w.store.Remove(t.Context(), done))
	require.Empty(t, w.left(done))
}

// A replica replaces a dead primary. The store finds it through the sentinels, and a journalled job resumes there.
func TestStoreFollowsSentinelsToNewPrimary(t *testing.T) {
	t.Parallel()
	watched := testredis.Sentinel(t, 3)
	store, err := statestore.Open(t.Context(), watched.URL(), statestore.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	w := &world{T: t, store: store, raw: watched.Replica.Client(), lease: 300 * time.Millisecond}
	id := w.sealed(4)
	before := w.claim(id, "a", 2)
	w.checkpoint(before[0].Lease, 1, "one")
	w.finish(id, []statestore.Completion{succeeded(before[1].Lease)}, statestore.Committed)
	require.NoError(t, watched.Primary.Client().Do(t.Context(), "WAIT", 1, 5000).Err())

	watched.Primary.Kill9()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	require.NoError(t, store.UntilKnown(ctx, func() error {
		return store.Checkpoint(ctx, before[0].Lease, 2, []byte("two"))
	}))
	rest := w.takeover(id, "b", 3)
	for _, j := range rest {
		if j.Lease.Job.Index == before[0].Lease.Job.Index {
			assert.Equal(t, []string{"one", "two"}, turns(j))
		}
	}
	assert.Equal(t, batch.Done, w.finishAll(id, rest))
	assert.Len(t, w.results(id), 4)
}

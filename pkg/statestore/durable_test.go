package statestore_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/statestore"
)

func TestDurableOnDisk(t *testing.T) {
	t.Parallel()
	w := over(t, testredis.Server(t, testredis.Config("appendonly", "yes", "appendfsync", "always")).URL())
	require.NoError(t, w.store.DurableNow(t.Context()))
	id := w.sealed(3)
	where, err := w.store.Durable(t.Context(), id, 3, time.Minute)
	require.NoError(t, err)
	assert.Contains(t, where, "on the disk of 127.0.0.1:")
	active, err := w.store.Active(t.Context())
	require.NoError(t, err)
	assert.Contains(t, active, id, "workers still find it")

	_, err = w.store.Durable(t.Context(), id, 4, time.Minute)
	assert.ErrorIs(t, err, statestore.ErrConflict, "a failover forgot a job")
	open := w.create()
	w.feed(open, 0, 3)
	_, err = w.store.Durable(t.Context(), open, 3, time.Minute)
	assert.ErrorIs(t, err, statestore.ErrConflict, "a failover forgot the seal")
	_, err = w.store.Durable(t.Context(), anotherID, 3, time.Minute)
	assert.ErrorIs(t, err, statestore.ErrNotFound)
	assert.Empty(t, w.keys(anotherID))
}

func TestDurableOnReplicas(t *testing.T) {
	t.Parallel()
	watched := testredis.Sentinel(t, 1)
	store, err := statestore.Open(t.Context(), watched.URL(), statestore.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	w := &world{T: t, store: store, raw: watched.Primary.Client(), lease: 300 * time.Millisecond}
	require.NoError(t, store.DurableNow(t.Context()))
	watched.Replica.Stop()
	id := w.sealed(3)
	_, err = w.store.Durable(t.Context(), id, 3, 200*time.Millisecond)
	require.ErrorIs(t, err, statestore.ErrNotYet)
	assert.Contains(t, err.Error(), "0 of 1 replicas")
	watched.Replica.Cont()
	where, err := w.store.Durable(t.Context(), id, 3, time.Minute)
	require.NoError(t, err)
	assert.Contains(t, where, "in the memory of 1 of 1 replicas")
	phase, err := watched.Replica.Client().HGet(t.Context(), "ba:{"+string(id)+"}:meta", "phase").Result()
	require.NoError(t, err)
	assert.Equal(t, "SEALED", phase)
}

func TestNotDurable(t *testing.T) {
	t.Parallel()
	nodes := testredis.Cluster(t)
	for name, url := range map[string]string{
		"a server without persistence":  testredis.Server(t).URL(),
		"a cluster without persistence": nodes[0].URL(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := statestore.Open(t.Context(), url, statestore.Options{})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			err = s.DurableNow(t.Context())
			require.ErrorIs(t, err, statestore.ErrNotDurable)
			assert.Contains(t, err.Error(), "appendonly yes")
		})
	}
}

// TestWaitForDiskForReal waits for the append-only file of a real server from 7.2 on. While the server leaves syncing to the
// operating system, it cannot confirm it, and the batch is not called safe.
func TestWaitForDiskForReal(t *testing.T) {
	t.Parallel()
	server := testredis.Server(t, testredis.Config("appendonly", "yes", "appendfsync", "no"))
	w := over(t, server.URL())
	client := server.Client()
	info, err := client.InfoMap(t.Context(), "server").Result()
	require.NoError(t, err)
	version := info["Server"]["redis_version"]
	var major, minor int
	_, err = fmt.Sscanf(version, "%d.%d", &major, &minor)
	require.NoError(t, err)
	if major < 7 || major == 7 && minor < 2 {
		err := w.store.DurableNow(t.Context())
		require.ErrorIs(t, err, statestore.ErrNotDurable)
		assert.Contains(t, err.Error(), "Redis "+version)
		return
	}
	require.NoError(t, w.store.DurableNow(t.Context()))
	id := w.sealed(3)
	_, err = w.store.Durable(t.Context(), id, 3, 1500*time.Millisecond)
	require.ErrorIs(t, err, statestore.ErrNotYet)
	assert.Contains(t, err.Error(), "has not synced its append-only file")
	require.NoError(t, client.ConfigSet(t.Context(), "appendfsync", "everysec").Err())
	where, err := w.store.Durable(t.Context(), id, 3, time.Minute)
	require.NoError(t, err)
	assert.Contains(t, where, "on the disk of 127.0.0.1:")
	stats, err := client.Info(t.Context(), "commandstats").Result()
	require.NoError(t, err)
	assert.Contains(t, stats, "cmdstat_waitaof")
}

// versioned returns a world on a fake Redis of some version, with an append-only file that is synced every second. WAITAOF
// returns synced.
func versioned(t *testing.T, version string, synced *atomic.Int64) *world {
	t.Helper()
	s, err := server.NewServer("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(s.Close)
	answers := map[string]server.Cmd{
		"PING": func(c *server.Peer, _ string, _ []string) { c.WriteInline("PONG") },
		"INFO": func(c *server.Peer, _ string, _ []string) {
			c.WriteBulk("redis_version:" + version + "\r\naof_enabled:1\r\nconnected_slaves:0\r\n")
		},
		"CONFIG":  func(c *server.Peer, _ string, _ []string) { c.WriteStrings([]string{"appendfsync", "everysec"}) },
		"EVALSHA": func(c *server.Peer, _ string, _ []string) { c.WriteStrings([]string{"SEALED", "3"}) },
		"MULTI":   func(c *server.Peer, _ string, _ []string) { c.WriteOK() },
		"SREM":    func(c *server.Peer, _ string, _ []string) { c.WriteInline("QUEUED") },
		"SADD":    func(c *server.Peer, _ string, _ []string) { c.WriteInline("QUEUED") },
		"EXEC": func(c *server.Peer, _ string, _ []string) {
			c.Block(func(w *server.Writer) { w.WriteLen(2); w.WriteInt(1); w.WriteInt(1) })
		},
		"WAITAOF": func(c *server.Peer, _ string, args []string) {
			assert.Equal(t, []string{"1", "0"}, args[:2])
			c.Block(func(w *server.Writer) { w.WriteLen(2); w.WriteInt(int(synced.Load())); w.WriteInt(0) })
		},
	}
	for name, answer := range answers {
		require.NoError(t, s.Register(name, answer))
	}
	return over(t, fmt.Sprintf("redis://127.0.0.1:%d", s.Addr().Port))
}

// TestWaitForDisk: a server from 7.2 on supports WAITAOF. An earlier one must be refused.
func TestWaitForDisk(t *testing.T) {
	t.Parallel()
	var synced atomic.Int64
	old := versioned(t, "7.0.15", &synced)
	err := old.store.DurableNow(t.Context())
	require.ErrorIs(t, err, statestore.ErrNotDurable)
	assert.Contains(t, err.Error(), "Redis 7.0.15")
	assert.Contains(t, err.Error(), "7.2 can")

	w := versioned(t, "7.2.4", &synced)
	require.NoError(t, w.store.DurableNow(t.Context()))
	_, err = w.store.Durable(t.Context(), anotherID, 3, 100*time.Millisecond)
	require.ErrorIs(t, err, statestore.ErrNotYet)
	synced.Store(1)
	where, err := w.store.Durable(t.Context(), anotherID, 3, 100*time.Millisecond)
	require.NoError(t, err)
	assert.Contains(t, where, "on the disk of 127.0.0.1:")
}

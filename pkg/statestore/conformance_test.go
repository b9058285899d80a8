package statestore_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// scenario is one behaviour that must hold on every server.
type scenario struct {
	name string
	run  func(*world)
}

func scenarios() []scenario {
	var all []scenario
	for _, group := range [][]scenario{
		submitScenarios, claimScenarios, aloneScenarios, leaseScenarios, finishScenarios, controlScenarios, resultScenarios, registryScenarios,
		effectScenarios, budgetScenarios, inspectScenarios, reduceScenarios, planScenarios, bindScenarios, parkedScenarios,
	} {
		all = append(all, group...)
	}
	return all
}

// TestConformanceMiniredis runs the suite on the embedded server, in synctest bubbles where waiting takes no time.
func TestConformanceMiniredis(t *testing.T) {
	t.Parallel()
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { s.run(bubble(t)) })
		})
	}
}

// bubble returns a world of its own inside a synctest bubble.
func bubble(t *testing.T) *world {
	t.Helper()
	dial, _ := testredis.Pipe(t)
	return bubbleOver(t, dial)
}

func bubbleOver(t *testing.T, dial testredis.Dialer) *world {
	t.Helper()
	store, err := statestore.Open(t.Context(), testredis.PipeURL, statestore.Options{Dialer: dial, PoolSize: 2})
	require.NoError(t, err)
	raw := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", Dialer: dial, PoolSize: 1, MaxRetries: -1})
	t.Cleanup(func() {
		require.NoError(t, store.Close())
		require.NoError(t, raw.Close())
	})
	return &world{T: t, store: store, raw: raw, lease: 15 * time.Second, fake: true}
}

// TestConformanceRedis runs the suite on a real server, each scenario in a database of its own.
func TestConformanceRedis(t *testing.T) {
	t.Parallel()
	server := testredis.Server(t, testredis.Config("databases", "256"))
	for i, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.run(over(t, fmt.Sprintf("%s/%d", server.URL(), i+1)))
		})
	}
}

// over returns a world on the server at url.
func over(t *testing.T, url string) *world {
	t.Helper()
	store, err := statestore.Open(t.Context(), url, statestore.Options{})
	require.NoError(t, err)
	o, err := redis.ParseURL(url)
	require.NoError(t, err)
	raw := redis.NewClient(o)
	t.Cleanup(func() {
		require.NoError(t, store.Close())
		require.NoError(t, raw.Close())
	})
	return &world{T: t, store: store, raw: raw, lease: 300 * time.Millisecond}
}

package app

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/vllmsim"
)

// The result of --calibrate is the limit of later starts, unless the server changes or --max-inflight is given.
func TestCalibrate(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("HOME", cache) // the cache directory may be below the home directory
	redis, _ := testredis.Mini(t)
	sim := func(c vllmsim.Config) *vllmsim.Server {
		s, err := vllmsim.New(c)
		require.NoError(t, err)
		return s
	}
	server := httptest.NewServer(sim(vllmsim.Config{ForwardMS: 10, MaxRunning: 4}))
	defer server.Close()
	backend := "vllm://" + server.Listener.Addr().String()

	status, said := work(t.Context(), "--calibrate", "--backend", backend)
	require.Equal(t, exitOK, status, said)
	assert.Contains(t, said, "IN FLIGHT")
	found := regexp.MustCompile(`(?m)^(\d+) calls in flight are enough`).FindStringSubmatch(said)
	require.Len(t, found, 2, said)
	kept, err := filepath.Glob(filepath.Join(cache, "*", "batchagent", "calibration.json"))
	require.NoError(t, err)
	if len(kept) == 0 {
		kept = []string{filepath.Join(cache, "batchagent", "calibration.json")}
	}
	data, err := os.ReadFile(kept[0])
	require.NoError(t, err)
	assert.Contains(t, string(data), `"max_inflight": `+found[1]+",")
	assert.Contains(t, string(data), `"version": "`+vllmsim.Version+`"`)

	begin := func(words string, args ...string) string {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var said log
		var running sync.WaitGroup
		running.Go(func() {
			run(ctx, append([]string{"worker", "--redis", redis, "--backend", backend, "--lease", "1s"}, args...), &said)
		})
		require.Eventually(t, func() bool { return strings.Contains(said.String(), words) }, 20*time.Second, 10*time.Millisecond, words)
		stop()
		running.Wait()
		return said.String()
	}
	assert.Contains(t, begin("worker started"), "max_inflight="+found[1])
	assert.NotContains(t, begin("worker started", "--max-inflight", "3"), "--calibrate")

	server.Config.Handler = sim(vllmsim.Config{KVBlocks: 100, MaxModelLen: 1024})
	assert.Contains(t, begin("worker started"), "the server has changed")
	server.Close()
	assert.Contains(t, begin("worker started"), "so it may have changed")

	status, said = work(t.Context(), "--calibrate", "--backend", backend)
	assert.Equal(t, exitUnreachable, status)
	assert.Contains(t, said, "--calibrate")
	status, said = work(t.Context(), "--calibrate", "--backend", "bedrock://us-east-1")
	assert.NotEqual(t, exitOK, status, said)
}

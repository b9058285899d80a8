package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
)

// TestRedisOverTLS runs a batch over a Redis that accepts only TLS, has a private authority, and requires client certificates. It
// also checks the error for each of the three files that is missing.
func TestRedisOverTLS(t *testing.T) {
	redis := testredis.Server(t, testredis.MutualTLS(), testredis.Password("", "planted-secret"))
	bin := built(t)
	dir := t.TempDir()
	cert, key := redis.Certificate()
	url := "rediss://" + redis.Addr()
	t.Setenv("BATCHAGENT_REDIS_PASSWORD", "planted-secret")
	doctor := func(want int) string {
		t.Helper()
		out, errs, code := bin.run(t, "coordinator", "doctor", "--redis", url)
		assert.Equal(t, want, code, out+errs)
		assert.NotContains(t, out+errs, "planted-secret")
		return out + errs
	}
	assert.Contains(t, doctor(3), "unknown authority")
	t.Setenv("BATCHAGENT_REDIS_CA", cert)
	doctor(3) // the server requires a client certificate
	t.Setenv("BATCHAGENT_REDIS_CERT", cert)
	assert.Contains(t, doctor(2), "BATCHAGENT_REDIS_KEY go together")
	t.Setenv("BATCHAGENT_REDIS_KEY", key)
	_, errs, code := bin.run(t, "coordinator", "batches", "--redis", "redis://"+redis.Addr())
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "write rediss://")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "inputs.jsonl"), []byte(strings.Repeat("{\"n\":1}\n", 20)), 0o600))
	specFile := filepath.Join(dir, "batch.yaml")
	require.NoError(t, os.WriteFile(specFile, []byte("name: tls\ntask: Question {n}\ninputs: inputs.jsonl\n"), 0o600))
	bin.start(t, "worker", "--redis", url, "--backend", "vllm://"+bin.simulator(t), "--id", "node-1")
	id := submitted(t, bin, url, specFile)
	out := filepath.Join(dir, "results.jsonl")
	_, errs, code = bin.run(t, "coordinator", "results", id, "--follow", "--out", out, "--redis", url)
	require.Equal(t, 0, code, errs)
	for _, r := range once(t, out, 20) {
		assert.Equal(t, batch.OK, r.Status, "%v", r.Error)
	}
}

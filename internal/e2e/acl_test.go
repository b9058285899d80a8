package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
)

// TestUsersACLIsEnough runs worker, coordinator and viewer as the users of deploy/redis/users.acl. Redis records every refused
// command in ACL LOG.
func TestUsersACLIsEnough(t *testing.T) {
	t.Parallel()
	server := testredis.Server(t, testredis.AOF(), testredis.Users())
	admin := server.Client()
	password := func(url string) string {
		o, err := redis.ParseURL(url)
		require.NoError(t, err)
		return o.Password
	}
	url, worker, viewer := server.As("coordinator"), server.As("worker"), server.As("viewer")

	bin := built(t)
	sim := bin.simulator(t, "--forward-ms", "5")
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	tools := write("tools.yaml", `commands:
  facts:
    description: The facts.
    argv: [sh, -c, 'echo forty-two']
    share: pure
tools:
  facts: {rate: 100/s}
`)
	write("inputs.jsonl", strings.Repeat("{\"n\":1}\n", 50))
	spec := write("batch.yaml", "name: acl\ntask: \"Question {n}: use facts.\"\ninputs: inputs.jsonl\ntools: [facts]\n"+
		"budget: {batch: {tokens: 100000000}}\nreduce: {task: \"Sum up {n} results: {results}\"}\n")
	planned := write("planned.yaml", "name: acl-plan\nplan: {task: List them.}\ntask: \"Look at {item}.\"\nreduce: {task: Sum them up.}\n")
	cut := write("cut.yaml", "name: acl-cut\nplan: {task: List them., sampling: {max_tokens: 2}}\ntask: \"Look at {item}.\"\nreduce: {task: Sum them up.}\n")
	for _, id := range []string{"node-1", "node-2"} {
		bin.start(t, "worker", "--redis", worker, "--backend", "vllm://"+sim, "--id", id, "--tools", tools)
	}
	as := func(url string, want int, args ...string) string {
		t.Helper()
		out, errs, code := bin.run(t, "coordinator", append(args, "--redis", url)...)
		require.Equal(t, want, code, "%v: %s", args, errs)
		assert.NotContains(t, errs+out, password(url))
		return strings.TrimSpace(out)
	}
	command := func(want int, args ...string) string { t.Helper(); return as(url, want, args...) }
	id := command(0, "submit", spec)
	results := filepath.Join(dir, "results.jsonl")
	command(0, "results", id, "--follow", "--out", results)
	for _, r := range readResults(t, results) {
		require.Equal(t, batch.OK, r.Status, "%v", r.Error)
	}
	seen := filepath.Join(dir, "seen.jsonl")
	for _, args := range [][]string{
		{"status", id}, {"status", id, "--json"}, {"explain", id}, {"batches"}, {"workers"}, {"results", id, "--follow", "--out", seen},
		{"doctor", "--backend", "vllm://" + sim},
	} {
		as(viewer, 0, args...)
	}
	assert.Len(t, readResults(t, seen), len(readResults(t, results)))
	for _, args := range [][]string{
		{"status", id}, {"explain", id}, {"batches"}, {"workers"}, {"retry", id}, {"budget", id, "--tokens", "200000000"},
		{"doctor", "--backend", "vllm://" + sim}, {"results", id, "--out", results, "--consume"}, {"rm", id},
	} {
		command(0, args...)
	}
	command(0, "cancel", command(0, "submit", spec))
	id, _, _ = strings.Cut(command(0, "submit", planned, "--follow"), "\n")
	command(0, "status", id)
	command(0, "rm", id)
	id, _, _ = strings.Cut(command(1, "submit", cut, "--follow"), "\n")
	command(0, "retry", id)
	command(1, "results", id, "--follow")

	refused, err := admin.ACLLog(t.Context(), 10).Result()
	require.NoError(t, err)
	for _, r := range refused {
		assert.Fail(t, "Redis refused", "%s %s: %s", r.Reason, r.Object, r.ClientInfo)
	}
	for _, args := range [][]string{{"submit", spec}, {"retry", id}, {"rm", id}} {
		_, errs, code := bin.run(t, "coordinator", append(args, "--redis", viewer)...)
		assert.NotZero(t, code, "%v", args)
		assert.Contains(t, errs, "NOPERM", "%v", args)
	}
}

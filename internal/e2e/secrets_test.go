package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
)

// TestSecretsAppearNowhere plants a secret of every kind: Redis' password, the model server's key, the API token, and a tool's
// key. Tools put their key into results, errors and HTTP answers. The test then searches all output (I9): debug logs, metrics,
// results with transcripts, pages, the output of commands, and every byte that Redis wrote.
func TestSecretsAppearNowhere(t *testing.T) {
	for variable, secret := range map[string]string{
		"BATCHAGENT_REDIS_PASSWORD": "planted-password", "BATCHAGENT_API_KEY": "planted-model-key",
		"BATCHAGENT_API_TOKEN": "planted-api-token", "TOOL_KEY": "planted-tool-key",
	} {
		t.Setenv(variable, secret)
	}
	redis := testredis.Server(t, testredis.AOF(), testredis.Password("", "planted-password"))
	url := "redis://" + redis.Addr()
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/broken" {
			w.WriteHeader(http.StatusForbidden)
		}
		_, _ = io.WriteString(w, "you sent "+r.Header.Get("Authorization"))
	}))
	t.Cleanup(service.Close)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	names := []string{"says", "fails", "asks", "asks_in_vain"}
	tools := write("tools.yaml", fmt.Sprintf(`commands:
  says: {description: Says it., argv: [sh, -c, 'echo the key is $TOOL_KEY'], env: [TOOL_KEY]}
  fails: {description: Fails with it., argv: [sh, -c, 'echo bad key $TOOL_KEY >&2; exit 1'], env: [TOOL_KEY]}
http:
  asks: {description: Asks with it., url: '%[1]s/well', headers: {Authorization: 'Bearer ${TOOL_KEY}'}}
  asks_in_vain: {description: Is refused with it., url: '%[1]s/broken', headers: {Authorization: 'Bearer ${TOOL_KEY}'}}
`, service.URL))

	bin := built(t)
	backend := "vllm://" + bin.simulator(t)
	metrics, api := freeAddress(t), freeAddress(t)
	worker := bin.start(t, "worker", "--redis", url, "--backend", backend, "--id", "node-1", "--tools", tools, "--log-level", "debug", "--listen", metrics)
	server := bin.start(t, "coordinator", "serve", "--redis", url, "--listen", api, "--log-level", "debug")
	get := func(address string, headers ...string) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address, nil)
		require.NoError(t, err)
		for i := 0; i+1 < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.Status + "\n" + string(body)
	}
	for _, addr := range []string{metrics, api} {
		require.Eventually(t, func() bool {
			resp, err := http.Get("http://" + addr + "/readyz")
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		}, 20*time.Second, 20*time.Millisecond, addr)
	}

	seen := map[string]string{}
	command := func(args ...string) {
		t.Helper()
		out, errs, _ := bin.run(t, "coordinator", append(args, "--redis", url)...)
		seen[strings.Join(args[:min(2, len(args))], " ")] = out + errs
	}
	write("inputs.jsonl", `{"n":1}`+"\n"+`{"n":2}`+"\n")
	results := filepath.Join(dir, "results.jsonl")
	for _, name := range names {
		spec := write(name+".yaml", "name: "+name+"\ntask: \"Question {n}.\"\ninputs: inputs.jsonl\ntools: ["+name+"]\ntranscripts: true\n")
		id := submitted(t, bin, url, spec)
		command("results", id, "--follow", "--out", results)
		lines := readResults(t, results)
		require.Len(t, lines, 2)
		for _, r := range lines {
			require.Equal(t, batch.OK, r.Status, "%v", r.Error)
		}
		text, err := os.ReadFile(results)
		require.NoError(t, err)
		seen["results of "+name] = string(text)
		assert.Contains(t, string(text), "[secret]", "%s contained it, and it was masked", name)
		require.NoError(t, os.Remove(results))
		for _, args := range [][]string{{"status", id, "--json"}, {"explain", id}} {
			command(args...)
		}
		for _, path := range []string{"/batches/" + id, "/batches/" + id + "/jobs/0?cursor=1", "/api/v1/batches/" + id + "/results", "/api/v1/batches/" + id + "/jobs/1?cursor=2"} {
			seen[path] = get(api+path, "Authorization", "Bearer planted-api-token")
		}
	}
	for _, path := range []string{"/", "/workers", "/tools", "/api/v1/workers", "/api/v1/tools", "/api/v1/backends"} {
		seen[path] = get(api+path, "Authorization", "Bearer planted-api-token")
		assert.Contains(t, seen[path], "200 OK", path)
		seen[path+", refused"] = get(api+path, "Authorization", "Bearer another")
	}
	command("doctor", "--backend", backend, "--tools", tools)
	command("batches")
	command("workers")
	t.Setenv("BATCHAGENT_REDIS_PASSWORD", "planted-mistake")
	command("batches", "with a wrong password")
	t.Setenv("BATCHAGENT_API_KEY", "planted-mistake")
	command("doctor", "--backend", backend)
	seen["metrics"] = get(metrics + "/metrics")
	for _, name := range names {
		assert.Contains(t, seen["metrics"], `batchagent_tool_answers_total{kind="executed",tool="`+name+`"}`)
	}
	seen["log of the worker"], seen["log of the server"] = worker.Log(), server.Log()
	assert.Contains(t, seen["log of the worker"], "claiming jobs")
	seen["what Redis wrote"] = appended(t, redis)
	assert.Contains(t, seen["what Redis wrote"], "[secret]", "otherwise the search would be empty")
	for where, text := range seen {
		assert.NotContains(t, text, "planted", where)
	}
}

// appended returns the append-only file of Redis.
func appended(t *testing.T, redis *testredis.Process) string {
	t.Helper()
	admin := redis.Client()
	at := admin.ConfigGet(t.Context(), "dir").Val()["dir"]
	var all strings.Builder
	require.Eventually(t, func() bool { // written within a second
		all.Reset()
		files, err := filepath.Glob(filepath.Join(at, "appendonlydir", "*"))
		require.NoError(t, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			all.Write(text)
		}
		return strings.Contains(all.String(), "[secret]")
	}, 20*time.Second, 100*time.Millisecond)
	return all.String()
}

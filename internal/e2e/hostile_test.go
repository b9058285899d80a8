package e2e

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/processkit"
	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
)

// workerMemory is the memory limit of a worker in the compose file.
const workerMemory = 512 << 20

// TestHostileBatchStopsNoWorker gives three workers of 512 MB a batch with a hostile model. Its tool calls and answers once cost
// minutes or gigabytes. One of its jobs kills its worker with the signal of an out-of-memory kill. An ordinary batch behind it finishes, no
// other job kills a worker, and the third worker that meets the deadly job runs nothing beside it.
func TestHostileBatchStopsNoWorker(t *testing.T) {
	redis := testredis.Server(t)
	bin := built(t)
	dir := t.TempDir()
	model := httptest.NewServer(http.HandlerFunc(hostileModel))
	t.Cleanup(model.Close)
	cluster := &threeWorkers{T: t, bin: bin, redis: redis, dir: dir, model: model.URL}
	service := httptest.NewServer(http.HandlerFunc(cluster.serve))
	t.Cleanup(service.Close)
	cluster.service = service.URL
	require.NoError(t, os.Mkdir(filepath.Join(dir, "files"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "files", "long.txt"), []byte(strings.Repeat("a", 900_000)+"b\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "shop.db"), nil, 0o600))
	for i := range cluster.nodes {
		cluster.start(i)
	}

	write := func(name, tools string, jobs []string) string {
		path := filepath.Join(dir, name+".yaml")
		inputs, err := json.Marshal(jobs)
		require.NoError(t, err)
		text := fmt.Sprintf("task: 'case {name}@%s'\nmodel: m\n%soutput_schema: %s\ninputs: %s\ntimeouts: {job: 20s, turn: 10s}\n",
			service.URL, tools, hostileSchema(), strings.NewReplacer(`["`, `[{"name":"`, `","`, `"},{"name":"`, `"]`, `"}]`).Replace(string(inputs)))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	hostileJobs := append(hostileCases(), "kill")
	began := time.Now()
	cluster.hostile = submitted(t, bin, redis.URL(), write("hostile", "tools: [http_get, python_eval, sql_query, grep_files, tree, deadly]\n", hostileJobs))
	ordinaryJobs := make([]string, 60)
	for i := range ordinaryJobs {
		ordinaryJobs[i] = fmt.Sprintf("fine-%d", i)
	}
	ordinary := submitted(t, bin, redis.URL(), write("ordinary", "", ordinaryJobs))

	cluster.await(ordinary, began.Add(time.Minute))
	t.Logf("the ordinary batch took %s", time.Since(began).Round(time.Second))
	cluster.await(cluster.hostile, began.Add(2*time.Minute))
	t.Logf("the hostile batch took %s", time.Since(began).Round(time.Second))

	out := filepath.Join(dir, "ordinary.jsonl")
	_, errs, code := bin.run(t, "coordinator", "results", ordinary, "--follow", "--out", out, "--redis", redis.URL())
	require.Equal(t, 0, code, errs)
	once(t, out, len(ordinaryJobs))
	out = filepath.Join(dir, "hostile.jsonl")
	_, errs, _ = bin.run(t, "coordinator", "results", cluster.hostile, "--follow", "--out", out, "--redis", redis.URL())
	results := once(t, out, len(hostileJobs))
	for i, name := range hostileJobs {
		r := results[int64(i)]
		t.Logf("%s: %s, attempts %d, %v", name, r.Status, r.Attempts, r.Error)
		if name == "kill" {
			require.NotNil(t, r.Error, errs)
			assert.Equal(t, batch.WorkerLost, r.Error.Type)
			assert.Equal(t, 3, r.Attempts)
		}
	}
	assert.Equal(t, int64(3), cluster.kills.Load())
	assert.Equal(t, cluster.kills.Load(), cluster.deaths.Load(), "workers died of something else")
	cluster.mu.Lock()
	defer cluster.mu.Unlock()
	assert.Equal(t, 1, cluster.beside[2], "leases of the third worker when it died")
}

// threeWorkers are workers with a memory limit, which are started again when they die.
type threeWorkers struct {
	*testing.T
	bin                 programs
	redis               *testredis.Process
	dir, model, service string
	hostile             string // the batch
	nodes               [3]*processkit.Process
	deaths, kills       atomic.Int64

	mu     sync.Mutex
	beside []int // guarded by mu: leases of each worker that was killed
}

func (c *threeWorkers) start(i int) {
	c.Helper()
	name := fmt.Sprintf("node-%d", i+1)
	tools := filepath.Join(c.dir, name+".yaml")
	require.NoError(c, os.WriteFile(tools, []byte(fmt.Sprintf(`python_eval: true
http_get: {allow_networks: [127.0.0.1]}
sql: {shop: {dsn: "sqlite:%[1]s/shop.db", timeout: 2s}}
tools: {python_eval: {timeout: 3s}, grep_files: {timeout: 5s}}
commands:
  tree: {description: Reads a tree., argv: [true], parameters: {type: object, $ref: "#/$defs/e", $defs: {e: {anyOf: [
    {type: object, properties: {op: {const: not}, arg: {$ref: "#/$defs/e"}}, required: [op]},
    {type: object, properties: {op: {const: neg}, arg: {$ref: "#/$defs/e"}}, required: [op]}]}}}}
http:
  deadly: {description: Kills., url: "%[2]s/kill/%[3]d"}
`, c.dir, c.service, i)), 0o600))
	program := limitedWorker(c.T, c.bin, name)
	c.nodes[i] = c.bin.start(c.T, program, "--redis", c.redis.URL(), "--backend", c.model, "--id", name, "--tools", tools,
		"--tools-root", filepath.Join(c.dir, "files"), "--lease", "1s", "--max-inflight", "4", "--max-agents", "8")
}

// await keeps the workers up until a batch is done.
func (c *threeWorkers) await(id string, deadline time.Time) {
	c.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for info(c.T, c.bin, c.redis.URL(), id).Phase != batch.Done {
		require.True(c, time.Now().Before(deadline), "batch %s does not end: %+v", id, info(c.T, c.bin, c.redis.URL(), id))
		c.restart()
		<-tick.C
	}
}

func (c *threeWorkers) restart() {
	c.Helper()
	for i, n := range c.nodes {
		select {
		case <-n.Ended():
			require.LessOrEqual(c, c.deaths.Add(1), int64(10), "workers die again and again: %s", n.Log())
			c.start(i)
		default:
		}
	}
}

// serve is the network of the tools: pages, and the call that kills its worker.
func (c *threeWorkers) serve(w http.ResponseWriter, r *http.Request) {
	number, deadly := strings.CutPrefix(r.URL.Path, "/kill/")
	switch {
	case deadly:
		i, err := strconv.Atoi(number)
		if err != nil {
			return
		}
		leases, _ := c.redis.Client().HGetAll(r.Context(), "ba:{"+c.hostile+"}:lease").Result()
		held := 0
		for _, lease := range leases {
			if parts := strings.Split(lease, "|"); len(parts) == 3 && strings.HasPrefix(parts[2], fmt.Sprintf("node-%d", i+1)) {
				held++
			}
		}
		c.mu.Lock()
		c.beside = append(c.beside, held)
		c.mu.Unlock()
		c.kills.Add(1)
		_ = c.nodes[i].Signal(syscall.SIGKILL)
		<-r.Context().Done()
	case r.URL.Path == "/bomb":
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", "text/html")
		z := gzip.NewWriter(w)
		for range 4 << 10 {
			if _, err := io.WriteString(z, strings.Repeat("<div>x", 20_000)); err != nil {
				return
			}
		}
	default:
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, strings.Repeat("<blockquote>", 480)+strings.Repeat("<p>line</p>\n", 9_000))
	}
}

// limitedWorker makes a program that starts a worker within its memory: in a cgroup of its own where that is allowed, and else
// with a limit of its data.
func limitedWorker(t *testing.T, bin programs, name string) string {
	t.Helper()
	limit := fmt.Sprintf("ulimit -d %d; export GOMEMLIMIT=%d", workerMemory>>10, workerMemory/10*8)
	group := fmt.Sprintf("/sys/fs/cgroup/memory/batchagent-test-%d-%s", os.Getpid(), name)
	if err := os.Mkdir(group, 0o700); err == nil {
		t.Cleanup(func() { _ = os.Remove(group) }) // fails while a process is left
	}
	if os.WriteFile(group+"/memory.limit_in_bytes", []byte(strconv.Itoa(workerMemory)), 0o600) == nil {
		limit = "echo $$ > " + group + "/cgroup.procs"
	}
	program := "limited-" + name
	script := "#!/bin/sh\n" + limit + "\nexec " + filepath.Join(bin.dir, "worker") + " \"$@\"\n"
	require.NoError(t, os.WriteFile(filepath.Join(bin.dir, program), []byte(script), 0o700)) //nolint:gosec // it is a program
	return program
}

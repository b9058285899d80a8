package shared_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/shared"
)

// childEnv makes the test binary run as a process of a cluster.
const childEnv = "TOOLPOOL_SHARED_CHILD"

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		if err := child(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, testredis.Dialling())
}

// order is the configuration of a child process.
type order struct {
	URL, Name, File string
	Share           toolpool.Share
	TTL             time.Duration
	Takes           time.Duration
	Agents          int
	Stagger         time.Duration // over which the agents start
	Lease           time.Duration
}

// report is the output of a child when all its agents have their results.
type report struct {
	Stats    toolpool.Stats
	Contents []string // distinct ones
	Failed   int
	Took     time.Duration
}

// child runs the agents of one process after it reads a line from standard input, and writes a report.
func child(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	ctx := context.Background()
	store, err := statestore.Open(ctx, o.URL, statestore.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	commands, blocking := store.Clients()
	sharer, err := shared.New(shared.Config{Commands: commands, Blocking: blocking, Name: o.Name, Lease: o.Lease})
	if err != nil {
		return err
	}
	defer sharer.Close(ctx)
	pool, err := toolpool.New(toolpool.Config{Cluster: sharer})
	if err != nil {
		return err
	}
	err = pool.Register(toolpool.Tool{
		Name: "t", Description: "test", Parameters: json.RawMessage(`{"type":"object"}`), Share: o.Share, TTL: o.TTL,
		Run: func(ctx context.Context, _ json.RawMessage) (string, error) {
			f, err := os.OpenFile(o.File, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				return "", err
			}
			defer f.Close()
			if _, err := fmt.Fprintf(f, "%d\n", os.Getpid()); err != nil {
				return "", err
			}
			if err := sleep.For(ctx, o.Takes); err != nil {
				return "", err
			}
			return fmt.Sprintf("%s %d", o.Name, time.Now().UnixNano()), nil
		},
	})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	var mu sync.Mutex
	var r report
	seen := map[string]bool{}
	var agents sync.WaitGroup
	began := time.Now()
	for i := range o.Agents {
		agents.Go(func() {
			_ = sleep.For(ctx, o.Stagger*time.Duration(i)/time.Duration(o.Agents))
			got, err := pool.Call(ctx, toolpool.Call{Name: "t", Arguments: `{"same":true}`})
			mu.Lock()
			defer mu.Unlock()
			if err != nil || got.Failed {
				r.Failed++
			}
			seen[got.Content] = true
		})
	}
	agents.Wait()
	r.Took, r.Stats = time.Since(began), pool.Stats()["t"]
	for c := range seen {
		r.Contents = append(r.Contents, c)
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// cluster is several child processes on one Redis.
type cluster struct {
	t        *testing.T
	redis    *testredis.Process
	file     string
	children []*exec.Cmd
	outputs  []*bufio.Reader
	started  []interface{ Write([]byte) (int, error) }
}

const processes, agentsEach = 4, 250

func startCluster(t *testing.T, redis *testredis.Process, o order) *cluster {
	t.Helper()
	c := &cluster{t: t, redis: redis, file: t.TempDir() + "/executions"}
	o.URL, o.File, o.Agents = redis.URL(), c.file, agentsEach
	if o.Lease == 0 {
		o.Lease = time.Second
	}
	for i := range processes {
		o.Name = fmt.Sprintf("p%d", i+1)
		text, err := json.Marshal(o)
		require.NoError(t, err)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+string(text))
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		c.children, c.started, c.outputs = append(c.children, cmd), append(c.started, in), append(c.outputs, bufio.NewReader(out))
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
	for _, out := range c.outputs {
		line, err := out.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "ready\n", line)
	}
	for _, in := range c.started {
		_, err := in.Write([]byte("go\n"))
		require.NoError(t, err)
	}
	return c
}

// executions returns the process IDs of the executions, in order.
func (c *cluster) executions() []int {
	text, _ := os.ReadFile(c.file) // missing before the first
	var out []int
	for line := range strings.Lines(string(text)) {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		require.NoError(c.t, err)
		out = append(out, pid)
	}
	return out
}

func (c *cluster) until(n int) {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return len(c.executions()) >= n }, 20*time.Second, 5*time.Millisecond)
}

// reports waits for all children except the killed one.
func (c *cluster) reports(killed int) (all report) {
	c.t.Helper()
	contents := map[string]bool{}
	for i, out := range c.outputs {
		if c.children[i].Process.Pid == killed {
			continue
		}
		line, err := out.ReadString('\n')
		require.NoError(c.t, err)
		var r report
		require.NoError(c.t, json.Unmarshal([]byte(line), &r))
		for _, text := range r.Contents {
			contents[text] = true
		}
		all.Failed += r.Failed
		all.Took = max(all.Took, r.Took)
		all.Stats.Asked += r.Stats.Asked
		all.Stats.Executed += r.Stats.Executed
		all.Stats.SharedProcess += r.Stats.SharedProcess
		all.Stats.SharedCluster += r.Stats.SharedCluster
		all.Stats.Cached += r.Stats.Cached
		all.Stats.Unshared += r.Stats.Unshared
	}
	for text := range contents {
		all.Contents = append(all.Contents, text)
	}
	return all
}

// TestProcesses runs four processes with 250 agents each that all make the same call.
func TestProcesses(t *testing.T) {
	t.Parallel()
	server := testredis.Server(t, testredis.AOF())
	t.Run("pure", func(t *testing.T) {
		c := startCluster(t, server, order{Share: toolpool.Pure, Takes: 300 * time.Millisecond})
		r := c.reports(0)
		assert.Len(t, c.executions(), 1)
		assert.Len(t, r.Contents, 1)
		assert.Zero(t, r.Failed)
		assert.EqualValues(t, processes*agentsEach, r.Stats.Asked)
		assert.EqualValues(t, processes*agentsEach-1, r.Stats.SharedProcess+r.Stats.SharedCluster+r.Stats.Cached)
	})
	t.Run("inflight", func(t *testing.T) {
		flush(t, server)
		// Agents start over 1.5 s and the call takes 0.3 s. At least one execution per 0.3 s is needed, and only one
		// at a time is allowed.
		c := startCluster(t, server, order{Share: toolpool.Inflight, Takes: 300 * time.Millisecond, Stagger: 1500 * time.Millisecond})
		r := c.reports(0)
		n := len(c.executions())
		assert.LessOrEqual(t, n, 1+int(r.Took/(300*time.Millisecond)), "executions overlapped")
		assert.GreaterOrEqual(t, n, 2, "agents that do not overlap shared an execution")
		assert.Zero(t, r.Failed)
		t.Logf("%d calls over 1.5 s, each of which would take 0.3 s: %d executions", processes*agentsEach, n)
	})
	t.Run("leader killed", func(t *testing.T) {
		flush(t, server)
		c := startCluster(t, server, order{Share: toolpool.Pure, Takes: 600 * time.Millisecond})
		c.until(1)
		leader := c.executions()[0]
		for _, cmd := range c.children {
			if cmd.Process.Pid == leader {
				require.NoError(t, cmd.Process.Kill())
			}
		}
		r := c.reports(leader)
		assert.Len(t, c.executions(), 2, "one in the killed process, and one more")
		assert.Len(t, r.Contents, 1)
		assert.Zero(t, r.Failed)
	})
	t.Run("result expires while callers wait", func(t *testing.T) {
		flush(t, server)
		c := startCluster(t, server, order{Share: toolpool.ForTTL, TTL: time.Millisecond, Takes: 500 * time.Millisecond})
		r := c.reports(0)
		assert.Len(t, c.executions(), 1)
		assert.Len(t, r.Contents, 1)
		assert.Zero(t, r.Failed)
	})
	t.Run("Redis restarted", func(t *testing.T) {
		flush(t, server)
		c := startCluster(t, server, order{Share: toolpool.Pure, Takes: 2 * time.Second, Lease: 3 * time.Second})
		c.until(1)
		server.Restart()
		r := c.reports(0)
		assert.Len(t, c.executions(), 1)
		assert.Len(t, r.Contents, 1)
		assert.Zero(t, r.Failed)
		assert.Zero(t, r.Stats.Unshared)
	})
}

func flush(t *testing.T, server *testredis.Process) {
	t.Helper()
	require.NoError(t, server.Client().FlushAll(t.Context()).Err())
}

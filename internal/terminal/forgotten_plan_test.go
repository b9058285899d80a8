package terminal

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// restarted is a store with a server that was restarted a number of times.
type restarted struct {
	*statestore.Store
	times *atomic.Int64
}

func (r restarted) Timeline(context.Context, batch.ID) (string, error) {
	return fmt.Sprint(r.times.Load()), nil
}

// cable is a client's connection that the test can cut.
type cable struct {
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	mu     sync.Mutex
	pulled bool
	conns  []net.Conn
}

func (c *cable) connect(ctx context.Context, network, address string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pulled {
		return nil, syscall.ECONNREFUSED
	}
	conn, err := c.dial(ctx, network, address)
	c.conns = append(c.conns, conn)
	return conn, err
}

func (c *cable) pull(pulled bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.pulled, c.conns = pulled, nil
}

// Redis loses a plan and results that the file already holds. The new plan has other and fewer items. In the end the
// file has results of the new plan only, and no trimmed result is missing.
func TestResultsFollowReplacedPlan(t *testing.T) {
	for _, format := range []string{"jsonl", "csv"} {
		for name, again := range map[string]bool{"by one command": false, "by a second command": true} {
			t.Run(format+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { forgottenPlan(t, format, again) })
			})
		}
	}
}

func forgottenPlan(t *testing.T, format string, again bool) {
	dial, m := testredis.Pipe(t)
	t.Cleanup(func() { time.Sleep(3 * time.Second) }) // wait until the client's redialling goroutines have noticed that it is closed
	connected := func(dialer func(context.Context, string, string) (net.Conn, error)) *statestore.Store {
		s, err := statestore.Open(t.Context(), testredis.PipeURL, statestore.Options{Dialer: dialer})
		require.NoError(t, err)
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	s := connected(dial)
	line := &cable{dial: dial}
	followed := restarted{connected(line.connect), &atomic.Int64{}}
	id := statestore.NewID(time.Now())

	create := func() {
		for _, h := range []batch.Header{{ID: id, Plan: true}, {ID: id.ForStage(batch.StagePlan)}} {
			h.Name, h.MaxAttempts, h.TTL = "n", 3, time.Hour
			require.NoError(t, s.Create(t.Context(), h, []byte("plan")))
		}
		_, err := s.Feed(t.Context(), id.ForStage(batch.StagePlan), 0, [][]byte{[]byte("{}")})
		require.NoError(t, err)
		_, err = s.Seal(t.Context(), id.ForStage(batch.StagePlan), 1)
		require.NoError(t, err)
	}
	run := func(of batch.ID, count int, change func(*statestore.Completion)) {
		_, jobs, err := s.Claim(t.Context(), statestore.ClaimParams{Batch: of, Consumer: "w", Count: count, Lease: time.Minute})
		require.NoError(t, err)
		require.Len(t, jobs, count)
		for _, j := range jobs {
			c := statestore.Completion{Lease: j.Lease, Result: batch.Result{
				Batch: of, JobID: batch.JobID(j.Lease.Job.Index), Index: j.Lease.Job.Index, Status: batch.OK, Attempts: 1, Turns: 1,
			}}
			change(&c)
			_, _, err := s.Finish(t.Context(), of, []statestore.Completion{c})
			require.NoError(t, err)
		}
	}
	plan := func(items ...string) {
		run(id.ForStage(batch.StagePlan), 1, func(c *statestore.Completion) {
			c.Result.Output = json.RawMessage(`{"items":["` + strings.Join(items, `","`) + `"]}`)
			for range items {
				c.Items = append(c.Items, []byte("{}"))
			}
		})
	}
	work := func(count int, items ...string) {
		run(id, count, func(c *statestore.Completion) {
			c.Result.Item = json.RawMessage(`"` + items[c.Result.Index] + `"`)
			c.Result.Output = json.RawMessage(`{"about":"` + items[c.Result.Index] + `"}`)
		})
	}

	out := filepath.Join(t.TempDir(), "results."+format)
	var plans, said bytes.Buffer
	follow := func(ctx context.Context) <-chan error {
		done := make(chan error, 1)
		go func() {
			done <- Results(ctx, followed, id, ResultsOptions{Follow: true, Out: out, Format: format, Consume: true}, NewConsole(&plans, &said))
		}()
		return done
	}
	create()
	ctx, interrupt := context.WithCancel(t.Context())
	done := follow(ctx)
	plan("ash", "oak", "elm", "yew")
	work(3, "ash", "oak", "elm")
	time.Sleep(3 * time.Second) // three results are in the file and trimmed

	if again {
		interrupt()
		<-done
	}
	line.pull(true)
	m.FlushAll()
	followed.times.Add(1)
	create()
	line.pull(false)
	if again {
		done = follow(t.Context())
	}
	time.Sleep(3 * time.Second)
	plan("ash", "fir")
	work(2, "ash", "fir")
	require.NoError(t, <-done)
	interrupt()

	text, err := os.ReadFile(out)
	require.NoError(t, err)
	results, err := read(out)
	require.NoError(t, err)
	require.Len(t, results, 2, "%s", text)
	assert.Contains(t, string(text), "ash")
	assert.Contains(t, string(text), "fir")
	for _, forgotten := range []string{"oak", "elm"} {
		assert.NotContains(t, string(text), forgotten)
	}
	last := plans.String()[strings.LastIndex(strings.TrimSpace(plans.String()), "\n")+1:]
	assert.Contains(t, last, "fir", "the plan that counts is printed last")
	assert.Contains(t, said.String(), "ok 2")
}

// read returns the results in a file.
func read(path string) (results []batch.Result, err error) {
	f, err := collect.OpenRecord(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_, err = collect.JSONL{}.Scan(io.Reader(f), func(r batch.Result, _, _ int64) error {
		results = append(results, r)
		return nil
	})
	return results, err
}

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
)

// TestKilledSubmitAndFollowResume kills the coordinator with -9 repeatedly while it submits, and while it collects with
// --consume. The batch must have each job once, the file each result once, and Redis no result that is in the file.
func TestKilledSubmitAndFollowResume(t *testing.T) {
	redis := testredis.Server(t)
	bin := built(t)
	dir := t.TempDir()
	const n = 6_000
	var inputs strings.Builder
	for i := range n {
		fmt.Fprintf(&inputs, `{"x":"%d %s"}`+"\n", i, strings.Repeat("word ", 40))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "inputs.jsonl"), []byte(inputs.String()), 0o600))
	spec := filepath.Join(dir, "batch.yaml")
	require.NoError(t, os.WriteFile(spec, []byte("name: many\ntask: \"Say {x}.\"\ninputs: inputs.jsonl\n"), 0o600))
	client := redis.Client()

	submit := []string{"submit", spec, "--redis", redis.URL()}
	cutShort, id := 0, ""
	for i := range 6 {
		begun := func() bool { return client.ZCard(t.Context(), "ba:batches").Val() > 0 }
		if !killOnce(t, bin, begun, time.Duration(15*i)*time.Millisecond, submit...) {
			break
		}
		cutShort++
		if id = sealed(t, client); id != "" {
			break // it was killed after its last step; another run would submit another batch
		}
	}
	require.Positive(t, cutShort, "no submission was killed before it finished")
	id = sealed(t, client)
	if id == "" {
		out, errs, code := bin.run(t, "coordinator", submit...)
		require.Equal(t, 0, code, errs)
		id = strings.TrimSpace(out)
	}
	require.EqualValues(t, 1, client.ZCard(t.Context(), "ba:batches").Val(), "a killed submission continues its own batch")
	fed, err := client.XLen(t.Context(), "ba:{"+id+"}:jobs").Result()
	require.NoError(t, err)
	require.EqualValues(t, n, fed)
	t.Logf("%d submissions killed", cutShort)
	_, errs, code := bin.run(t, "coordinator", "cancel", id, "--redis", redis.URL())
	require.Equal(t, 0, code, errs)

	file := filepath.Join(dir, "out.jsonl")
	follow := []string{"results", id, "--follow", "--out", file, "--consume", "--redis", redis.URL()}
	killed, begun := 0, 0
	for i := range 10 {
		was := size(file)
		if !killOnce(t, bin, func() bool { return size(file) > was }, time.Duration(5*i)*time.Millisecond, follow...) {
			break
		}
		killed++
		if text, err := os.ReadFile(file); err == nil && len(text) > 0 {
			begun++
			// A power loss may leave any part of the next line.
			if i%2 == 0 {
				require.NoError(t, os.WriteFile(file, append(text, `{"batch":"`...), 0o600))
			}
		}
	}
	require.Positive(t, begun, "no collection was killed before it finished")
	_, errs, code = bin.run(t, "coordinator", follow...)
	require.Equal(t, 1, code, errs)
	t.Logf("%d collections killed, %d with results in the file", killed, begun)

	seen := map[int64]bool{}
	for _, r := range readResults(t, file) {
		require.False(t, seen[r.Index], "job %d twice", r.Index)
		seen[r.Index] = true
	}
	require.Len(t, seen, n)
	left, err := client.XLen(t.Context(), "ba:{"+id+"}:results").Result()
	require.NoError(t, err)
	require.Zero(t, left)
}

// sealed returns the sealed batch, or "" if none is sealed yet.
func sealed(t *testing.T, client *goredis.Client) string {
	t.Helper()
	ids, err := client.ZRange(t.Context(), "ba:batches", 0, -1).Result()
	require.NoError(t, err)
	for _, id := range ids {
		if client.HGet(t.Context(), "ba:{"+id+"}:meta", "phase").Val() == string(batch.Sealed) {
			return id
		}
	}
	return ""
}

func size(file string) int64 {
	info, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return info.Size()
}

// killOnce starts the coordinator and kills it some time after begun returns true. It reports whether the process was still
// running.
func killOnce(t *testing.T, bin programs, begun func() bool, after time.Duration, args ...string) bool {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin.dir, "coordinator"), args...)
	require.NoError(t, cmd.Start())
	over := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() {
		look := time.NewTicker(time.Millisecond)
		defer look.Stop()
		for !begun() {
			select {
			case <-over:
				return
			case <-look.C:
			}
		}
		select {
		case <-over:
		case <-time.After(after):
			_ = cmd.Process.Signal(syscall.SIGKILL)
		}
	})
	_ = cmd.Wait()
	close(over)
	killer.Wait()
	return cmd.ProcessState.ExitCode() == -1
}

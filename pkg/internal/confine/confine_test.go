package confine

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv("CONFINE_PARENT") != "" {
		go func() { _, _ = probe.Do(context.Background(), []byte("spin")) }()
		for {
			runtime.Gosched()
		}
	}
	goleak.VerifyTestMain(m)
}

var eaten [][]byte

// probe is a task with the computations of the tests.
var probe = New("confine-probe", Limits{Memory: 128 << 20, CPU: 2 * time.Second}, func(in []byte) ([]byte, error) {
	switch what, arg, _ := strings.Cut(string(in), " "); what {
	case "pid":
		return []byte(strconv.Itoa(os.Getpid())), nil
	case "env":
		return []byte(strings.Join(os.Environ(), ",")), nil
	case "fail":
		return nil, errors.New("failed: " + arg)
	case "panic":
		panic("broken")
	case "spin":
		for n := 0; ; n++ {
			if n < 0 {
				return nil, nil
			}
		}
	case "eat":
		for {
			eaten = append(eaten, bytes.Repeat([]byte{1}, 1<<20))
		}
	default:
		return in, nil
	}
})

func TestTask(t *testing.T) {
	t.Parallel()
	out, err := probe.Do(t.Context(), []byte("hello"))
	require.NoError(t, err)
	assert.Equal(t, "hello", string(out))

	_, err = probe.Do(t.Context(), []byte("fail so"))
	require.EqualError(t, err, "failed: so")

	out, err = probe.Do(t.Context(), []byte("env"))
	require.NoError(t, err)
	assert.Equal(t, "GOTRACEBACK=none,GOMAXPROCS=2,MALLOC_ARENA_MAX=1", string(out))

	_, err = probe.Do(t.Context(), []byte("panic"))
	require.EqualError(t, err, "broke down")
	large := bytes.Repeat([]byte("x"), 1<<20)
	out, err = probe.Do(t.Context(), large)
	require.NoError(t, err)
	assert.Len(t, out, len(large))
}

func TestTaskStopsAtItsLimits(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("limits are Linux's")
	}
	_, err := probe.Do(t.Context(), []byte("spin"))
	require.ErrorContains(t, err, "computing time")
	if memoryLimited {
		_, err = probe.Do(t.Context(), []byte("eat"))
		require.ErrorContains(t, err, "128 MiB of memory")
	}
}

func TestTaskEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := probe.Do(ctx, []byte("spin"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestChildrenAreLimitedAndReused(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	pids := map[string]bool{}
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			out, err := probe.Do(t.Context(), []byte("pid"))
			assert.NoError(t, err)
			mu.Lock()
			defer mu.Unlock()
			pids[string(out)] = true
		})
	}
	all.Wait()
	assert.Less(t, len(pids), 30)
}

// A working child ends when its parent is killed.
func TestChildrenDieWithTheirParent(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	parent := exec.Command(exe)
	parent.Env = append(os.Environ(), "CONFINE_PARENT=1")
	require.NoError(t, parent.Start())
	children := func() string {
		text, _ := os.ReadFile("/proc/" + strconv.Itoa(parent.Process.Pid) + "/task/" + strconv.Itoa(parent.Process.Pid) + "/children")
		all, _ := exec.Command("pgrep", "-P", strconv.Itoa(parent.Process.Pid)).Output()
		return strings.TrimSpace(string(text) + string(all))
	}
	var found []string
	require.Eventually(t, func() bool { found = strings.Fields(children()); return len(found) > 0 }, 60*time.Second, 20*time.Millisecond)
	child, err := strconv.Atoi(found[0])
	require.NoError(t, err)
	require.NoError(t, parent.Process.Kill())
	_ = parent.Wait()
	require.Eventually(t, func() bool {
		state, err := os.ReadFile("/proc/" + strconv.Itoa(child) + "/stat")
		return err != nil || bytes.Contains(state, []byte(") Z ")) || errors.Is(syscall.Kill(child, 0), syscall.ESRCH)
	}, 20*time.Second, 20*time.Millisecond)
}

package program

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
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

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/redact"
)

func TestMain(m *testing.M) {
	if script := os.Getenv("PROGRAM_PARENT"); script != "" { // a worker that is killed
		_, _ = Process{Argv: []string{"sh", "-c", script}, Env: os.Environ()}.Run(context.Background())
		os.Exit(0)
	}
	if temp := os.Getenv("PROGRAM_CONTAINER_PARENT"); temp != "" {
		runContainer(temp)
	}
	if url := os.Getenv("PROGRAM_FETCH"); url != "" {
		fetchURL(url)
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func shell(script string) Process {
	return Process{Argv: []string{"sh", "-c", script}, Env: []string{"PATH=" + os.Getenv("PATH")}}
}

func TestProcess(t *testing.T) {
	t.Parallel()
	p := shell("cat; echo $A; pwd; echo noise >&2")
	p.Stdin, p.Dir = []byte("the task\n"), t.TempDir()
	p.Env = append(p.Env, "A=b")
	var mu sync.Mutex
	var lines []string
	p.Log = func(line string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, line)
	}
	text, err := p.Run(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "the task\nb\n"+p.Dir+"\n", text)
	assert.Equal(t, []string{"noise"}, lines)
}

func TestProcessThatFails(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]string{
		"echo wrong >&2; exit 3": "sh ended with exit status 3; its last lines: wrong",
		"kill -SEGV $$":          "sh ended with the signal 11",
		"yes | head -c 5000000":  "sh printed more than 4 MiB",
		"exit 1":                 "sh ended with exit status 1",
		"head -c 9000 /dev/zero | tr '\\0' x >&2; exit 1": "xxx",
	} {
		_, err := shell(script).Run(t.Context())
		var e *batch.Error
		require.ErrorAs(t, err, &e, script)
		assert.Equal(t, batch.ProgramFailed, e.Type)
		assert.Contains(t, e.Message, want)
		assert.Less(t, len(e.Message), 3<<10)
	}
	_, err := Process{Argv: []string{"no-such-program"}}.Run(t.Context())
	require.EqualError(t, err, `ProgramFailed: there is no program "no-such-program" on this machine`)
}

func TestKilledProgramIsNotItsOwnFault(t *testing.T) {
	t.Parallel()
	_, err := shell("echo so far >&2; kill -KILL $$").Run(t.Context())
	require.ErrorIs(t, err, ErrKilled)
	require.ErrorContains(t, err, "so far")
}

func TestSecretsAreStruckOut(t *testing.T) {
	t.Parallel()
	p := shell("echo my-secret-key; echo my-secret-key >&2; exit $A")
	p.Secrets = redact.New("my-secret-key")
	text, err := p.Run(t.Context())
	require.NoError(t, err)
	assert.NotContains(t, text, "my-secret-key")
	p.Env = append(p.Env, "A=1")
	_, err = p.Run(t.Context())
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "my-secret-key")
}

// alive returns the processes that a test started with a mark in their environment.
func alive(t *testing.T, mark string) (pids []int) {
	t.Helper()
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(t, err)
	for _, path := range environs {
		text, _ := os.ReadFile(path)
		pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
		if strings.Contains(string(text), mark) && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

func onLinux(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the keeper is Linux's")
	}
}

// escape starts a grandchild that leaves the process group and the session of its parent.
const escape = "setsid sh -c 'sleep 300 & sleep 300' >/dev/null 2>&1 & "

// Nothing of a program survives its end, not even a daemon.
func TestDaemonsEndWithTheProgram(t *testing.T) {
	t.Parallel()
	onLinux(t)
	p := shell(escape + "sleep 0.2; echo done")
	p.Env = append(p.Env, "MARK=ends-with-the-program")
	text, err := p.Run(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "done\n", text)
	assert.Empty(t, alive(t, "MARK=ends-with-the-program"))
}

func TestProgramEndsWithItsContext(t *testing.T) {
	t.Parallel()
	onLinux(t)
	p := shell(escape + "trap '' TERM; sleep 300")
	p.Env = append(p.Env, "MARK=ends-with-the-context")
	why := errors.New("lease lost")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(300*time.Millisecond, func() { cancel(why) })
	_, err := p.Run(ctx)
	require.ErrorIs(t, err, why)
	assert.Empty(t, alive(t, "MARK=ends-with-the-context"))
}

func TestProgramEndsWithAKilledWorker(t *testing.T) {
	t.Parallel()
	onLinux(t)
	exe, err := os.Executable()
	require.NoError(t, err)
	parent := exec.Command(exe)
	parent.Env = append(os.Environ(), "PROGRAM_PARENT="+escape+"sleep 300", "MARK=ends-with-the-worker")
	require.NoError(t, parent.Start())
	require.Eventually(t, func() bool { return len(alive(t, "MARK=ends-with-the-worker")) >= 5 }, 60*time.Second, 10*time.Millisecond)
	require.NoError(t, parent.Process.Signal(syscall.SIGKILL))
	_ = parent.Wait()
	require.Eventually(t, func() bool { return len(alive(t, "MARK=ends-with-the-worker")) == 0 }, 60*time.Second, 10*time.Millisecond)
}

func TestMemoryIsLimited(t *testing.T) {
	t.Parallel()
	onLinux(t)
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("there is no python3 on this machine")
	}
	p := Process{Argv: []string{"python3", "-c", "b = bytearray(400 << 20); print(len(b))"}, Memory: 200 << 20, Env: []string{"PATH=" + os.Getenv("PATH")}}
	_, err := p.Run(t.Context())
	require.ErrorContains(t, err, "MemoryError")
	p.Memory = 0
	_, err = p.Run(t.Context())
	require.NoError(t, err)
}

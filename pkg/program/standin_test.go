package program

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
)

// standIn is a docker command for machines without an engine. A container of it is a process without any isolation. The folder
// STAND_IN has its state: a file for each container, the calls, and "away" while the engine does not answer.
const standIn = `#!/bin/sh
echo "$1" >> "$STAND_IN/calls"
if [ -e "$STAND_IN/away" ]; then echo "Cannot connect to the Docker daemon" >&2; exit 1; fi
case $1 in
create)
	while [ "$1" != --entrypoint ]; do
		[ "$1" != --name ] || name=$2
		shift
	done
	[ "$3" != missing:1 ] || { echo "Error response from daemon: No such image: missing:1" >&2; exit 1; }
	printf '%s\n' "$3" "$2" "$4" "$5" > "$STAND_IN/$name" ;;
start)
	{ read -r image; read -r exe; read -r what; read -r file; } < "$STAND_IN/$4"
	[ "$image" != broken:1 ] || { echo "Error response from daemon: OCI runtime create failed" >&2; exit 1; }
	echo $$ > "$STAND_IN/$4.pid"
	exec "$exe" "$what" "$file" ;;
rm)
	[ ! -e "$STAND_IN/$3.pid" ] || kill -9 "$(cat "$STAND_IN/$3.pid")" 2>/dev/null
	rm -f "$STAND_IN/$3" "$STAND_IN/$3.pid" ;;
esac
`

// standInRunner returns a runner whose containers are processes, a job, and the folder of the stand-in.
func standInRunner(t *testing.T) (r *Runner, j Job, state string) {
	t.Helper()
	bin := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bin, "docker"), []byte(standIn), 0o755)) //nolint:gosec // a program
	state = t.TempDir()
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("STAND_IN", state)
	r = runner(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, free.Close())
	j = serveJob(t, r)
	j.URL = "http://" + free.Addr().String() + "/s/secret"
	return r, j, state
}

func TestStandInRunsTheFirstProcess(t *testing.T) {
	r, j, _ := standInRunner(t)
	p := Program{Name: "p", Isolation: Docker, Image: "any:1", Argv: []string{os.Args[0]}, Env: []string{"PROGRAM_FETCH=" + j.URL + "/v1/models"}}
	a, err := r.Run(t.Context(), p, j)
	require.NoError(t, err)
	assert.Equal(t, "served /s/secret/v1/models", a.Text, "the address of the job is forwarded")
	assert.Empty(t, r.left(t))

	for want, p := range map[string]Program{
		"sh ended with exit status 5; its last lines: wrong": {Image: "any:1", Argv: []string{"sh", "-c", "echo wrong >&2; exit 5"}},
		`there is no program "no-such-program" in the image`: {Image: "any:1", Argv: []string{"no-such-program"}},
		`run "docker pull missing:1"`:                        {Image: "missing:1", Argv: []string{"sh"}},
		"does not start: sh ended with exit status 1; its last lines: Error response from daemon: OCI runtime create failed": {Image: "broken:1", Argv: []string{"sh"}},
	} {
		p.Isolation = Docker
		_, err := r.Run(t.Context(), p, j)
		var failure *batch.Error
		require.ErrorAs(t, err, &failure, want)
		assert.Equal(t, batch.ProgramFailed, failure.Type)
		assert.Contains(t, failure.Message, want)
	}
}

func TestProgramWaitsForTheEngine(t *testing.T) {
	r, j, state := standInRunner(t)
	away := filepath.Join(state, "away")
	require.NoError(t, os.WriteFile(away, nil, 0o600))
	p := Program{Isolation: Docker, Image: "any:1", Argv: []string{"echo", "done"}}
	done := make(chan string, 1)
	go func() {
		a, err := r.Run(t.Context(), p, j)
		assert.NoError(t, err)
		done <- a.Text
	}()
	require.Eventually(t, func() bool {
		calls, _ := os.ReadFile(filepath.Join(state, "calls"))
		return strings.Count(string(calls), "version\n") >= 2
	}, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, os.Remove(away))
	assert.Equal(t, "done", <-done)
}

func TestContainerThatEndsFromOutsideStartsAgain(t *testing.T) {
	r, j, state := standInRunner(t)
	r.Log = func(string, string) { // the engine restarts, and its containers end
		pids, err := filepath.Glob(filepath.Join(state, "*.pid"))
		assert.NoError(t, err)
		assert.Len(t, pids, 1)
		engine{"docker"}.remove(strings.TrimSuffix(filepath.Base(pids[0]), ".pid"))
	}
	p := Program{Isolation: Docker, Image: "any:1", Argv: []string{"sh", "-c", "echo started >&2; sleep 1000"}}
	_, err := r.Run(t.Context(), p, j)
	require.ErrorIs(t, err, ErrKilled)

	ctx, cancel := context.WithCancelCause(t.Context())
	r.Log = func(string, string) { cancel(os.ErrDeadlineExceeded) }
	_, err = r.Run(ctx, p, j)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	left, err := os.ReadDir(state)
	require.NoError(t, err)
	assert.Len(t, left, 1, "only the calls are left")
}

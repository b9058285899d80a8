package program

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sandboxed returns a runner and a job whose URL is served on the socket only.
func sandboxed(t *testing.T) (*Runner, Job) {
	t.Helper()
	bwrap, err := exec.LookPath("bwrap")
	if err != nil || exec.Command(bwrap, "--unshare-all", "--ro-bind", "/", "/", "true").Run() != nil {
		t.Skip("bubblewrap does not work on this machine")
	}
	r := runner(t)
	return r, serveJob(t, r)
}

// serveJob returns a job whose URL is served on the runner's socket only.
func serveJob(t *testing.T, r *Runner) Job {
	t.Helper()
	l, err := listenJob(r)
	require.NoError(t, err)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "served ", r.URL.Path) }))
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	d := job
	d.URL = "http://127.0.0.1:7999/s/secret"
	return Job{Description: d}
}

func listenJob(r *Runner) (net.Listener, error) { return net.Listen("unix", r.Folders.Socket()) }

// fetch is a script that prints the answer of a URL, or why there is none.
const fetch = `
import sys, urllib.request
try: print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())
except Exception as e: print("refused", e)
`

func TestSandboxReachesItsJobAndNothingElse(t *testing.T) {
	t.Parallel()
	r, j := sandboxed(t)
	other := httptest.NewServer(http.NotFoundHandler()) // another port of the worker
	t.Cleanup(other.Close)
	for url, want := range map[string]string{
		j.URL + "/v1/models": "served /s/secret/v1/models",
		other.URL:            "refused",
		"http://169.254.169.254/latest/meta-data/": "refused",
	} {
		a, err := r.Run(t.Context(), Program{Argv: []string{"python3", "-c", fetch, url}, Isolation: Bubblewrap}, j)
		require.NoError(t, err)
		assert.Contains(t, a.Text, want, url)
	}
}

func TestSandboxHidesTheMachine(t *testing.T) {
	t.Parallel()
	r, j := sandboxed(t)
	secret := filepath.Join(t.TempDir(), "secret") // below the system's folder for temporary files
	require.NoError(t, os.WriteFile(secret, []byte("another job's"), 0o644))
	run := func(script string, read ...string) string {
		a, err := r.Run(t.Context(), Program{Argv: []string{"sh", "-c", script}, Isolation: Bubblewrap, Read: read}, j)
		require.NoError(t, err)
		return a.Text
	}
	assert.Empty(t, run("cat "+secret+" 2>/dev/null; exit 0"))
	assert.Equal(t, "another job's", run("cat "+secret, filepath.Dir(secret)))
	assert.Equal(t, "refused", run("echo x 2>/dev/null > /etc/x || echo refused"))
	assert.Equal(t, "work", run("echo work > f; cat f; rm f"))
	assert.Equal(t, fmt.Sprint(os.Getpid()), run(fmt.Sprintf("test -e /proc/%d/environ && cat /proc/%d/environ; echo %d", os.Getpid(), os.Getpid(), os.Getpid())))
	assert.Equal(t, "sum it up", run("cat"))
	_, err := r.Run(t.Context(), Program{Argv: []string{"sh", "-c", "exit 5"}, Isolation: Bubblewrap}, j)
	require.ErrorContains(t, err, "exit status 5")
}

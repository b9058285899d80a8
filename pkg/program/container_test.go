package program

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
)

// testImage is the image of these tests: a shell, and the libraries that this executable needs.
const testImage = "batchagent-test-program:latest"

var importImage = sync.OnceValue(func() error {
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	add := func(from, to string) error {
		text, err := os.ReadFile(from)
		if err == nil {
			err = w.WriteHeader(&tar.Header{Name: to, Mode: 0o755, Size: int64(len(text))})
		}
		if err == nil {
			_, err = w.Write(text)
		}
		return err
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	if err := add(busybox, "tools/busybox"); err != nil {
		return err
	}
	for _, name := range []string{"sh", "cat", "echo", "sleep", "head", "tail", "true", "id", "kill", "ps"} {
		if err := w.WriteHeader(&tar.Header{Name: "tools/" + name, Typeflag: tar.TypeSymlink, Linkname: "busybox"}); err != nil {
			return err
		}
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	libraries, _ := exec.Command("ldd", exe).Output() // fails for a static executable
	for field := range strings.FieldsSeq(string(libraries)) {
		if strings.HasPrefix(field, "/") {
			if err := add(field, field[1:]); err != nil {
				return err
			}
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	load := exec.Command("docker", "import", "--change", "ENV PATH=/tools", "--change", "ENV OF_IMAGE=kept", "-", testImage)
	load.Stdin = &content
	return load.Run()
})

// contained returns a runner, and a job whose URL is served on the socket only.
func contained(t *testing.T) (*Runner, Job) {
	t.Helper()
	if err := exec.Command("docker", "version").Run(); err != nil {
		t.Skip("no Docker engine answers")
	}
	if err := importImage(); err != nil {
		t.Skip("the image of the test cannot be made; it needs busybox, linked statically: ", err)
	}
	r := runner(t)
	j := serveJob(t, r)
	t.Cleanup(func() { assert.Empty(t, containers(t, r.Folders.root)) })
	return r, j
}

// containers returns the names of the containers of a root.
func containers(t *testing.T, root string) string {
	t.Helper()
	out, err := exec.Command("docker", "ps", "--all", "--quiet", "--filter", "label="+rootLabel+"="+root).CombinedOutput() //nolint:gosec // a test
	require.NoError(t, err, "%s", out)
	return string(out)
}

func inContainer(script string) Program {
	return Program{Name: "p", Argv: []string{"sh", "-c", script}, Isolation: Docker, Image: testImage}
}

func TestContainerHasTheContract(t *testing.T) {
	t.Parallel()
	r, j := contained(t)
	j.Output = "answer.txt"
	p := inContainer(`
		test "$(cat)" = "sum it up" || exit 3
		test "$(cat $BATCHAGENT_INPUT)" = '{"a":1}' || exit 4
		echo "$OF_IMAGE $OWN $(cat set-up) $1 $(echo x 2>/dev/null > /etc/x || echo read-only)" > answer.txt
		test "$(id -u)" = "` + strings.TrimSpace(command(t, "id", "-u")) + `" || exit 5
		echo line >&2`)
	p.Argv = append(p.Argv, "sh", "--steps={args.steps}")
	p.Env, p.SetUp = []string{"OWN=of the operator"}, [][]string{{"sh", "-c", "echo $OF_IMAGE > set-up"}}
	var lines []string
	r.Log = func(_, line string) { lines = append(lines, line) }
	a, err := r.Run(t.Context(), p, j)
	require.NoError(t, err)
	assert.Contains(t, a.Text, "kept of the operator kept --steps=20")
	assert.Equal(t, []string{"line"}, lines)
	assert.Empty(t, r.left(t))
}

func command(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).Output() //nolint:gosec // a test
	require.NoError(t, err)
	return string(out)
}

func TestContainerReachesItsJobAndNothingElse(t *testing.T) {
	t.Parallel()
	r, j := contained(t)
	other := httptest.NewServer(nil) // another port of the worker
	t.Cleanup(other.Close)
	for url, want := range map[string]string{
		j.URL + "/v1/models": "served /s/secret/v1/models",
		other.URL:            "refused",
		"http://169.254.169.254/latest/meta-data/": "refused",
	} {
		p := inContainer("")
		p.Argv, p.Env = []string{os.Args[0]}, []string{"PROGRAM_FETCH=" + url} // this executable is in every container
		a, err := r.Run(t.Context(), p, j)
		require.NoError(t, err)
		assert.Equal(t, want, a.Text, url)
	}
}

func TestContainerThatFails(t *testing.T) {
	t.Parallel()
	r, j := contained(t)
	hungry := inContainer("head -c 200000000 /dev/zero | tail")
	hungry.Memory = 64 << 20
	absent, missing := inContainer("true"), inContainer("true")
	absent.Argv = []string{"no-such-program"}
	missing.Image = "batchagent-test-missing:1"
	for want, p := range map[string]Program{
		"sh ended with exit status 5; its last lines: wrong": inContainer("echo wrong >&2; exit 5"),
		"memory of the container was used up":                hungry,
		`there is no program "no-such-program" in the image`: absent,
		`run "docker pull batchagent-test-missing:1"`:        missing,
	} {
		_, err := r.Run(t.Context(), p, j)
		var failure *batch.Error
		require.ErrorAs(t, err, &failure, want)
		assert.Equal(t, batch.ProgramFailed, failure.Type)
		assert.Contains(t, failure.Message, want)
	}
	assert.Empty(t, r.left(t))
}

func TestContainerThatDoesNotStart(t *testing.T) {
	t.Parallel()
	r, j := contained(t)
	const empty = "batchagent-test-empty:latest" // has no C library, and this executable may need one
	load := exec.Command("docker", "import", "-", empty)
	var content bytes.Buffer
	require.NoError(t, tar.NewWriter(&content).Close())
	load.Stdin = &content
	require.NoError(t, load.Run())
	p := inContainer("true")
	p.Image = empty
	_, err := r.Run(t.Context(), p, j)
	var failure *batch.Error
	require.ErrorAs(t, err, &failure)
	if libraries, _ := exec.Command("ldd", os.Args[0]).Output(); len(libraries) > 0 {
		assert.Contains(t, failure.Message, "the container of the program p does not start: ")
		assert.Contains(t, failure.Message, "so build that with CGO_ENABLED=0")
	} else {
		assert.Contains(t, failure.Message, `there is no program "sh" in the image`)
	}
}

func TestContainerEndsWithItsAttempt(t *testing.T) {
	t.Parallel()
	r, j := contained(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	r.Log = func(string, string) { cancel(io.ErrUnexpectedEOF) }
	_, err := r.Run(ctx, inContainer("(sleep 1000 & echo started >&2; sleep 1000)"), j)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Empty(t, containers(t, r.Folders.root), "when Run returns")
}

func TestContainerThatTheEngineEnds(t *testing.T) {
	t.Parallel()
	r, j := contained(t)
	r.Log = func(string, string) {
		_ = exec.Command("docker", "kill", strings.TrimSpace(containers(t, r.Folders.root))).Run() //nolint:gosec // a test
	}
	_, err := r.Run(t.Context(), inContainer("echo started >&2; sleep 1000"), j)
	require.ErrorIs(t, err, ErrKilled)
}

// TestContainerEndsWithItsWorker kills the process that runs a container. The container must end by itself.
func TestContainerEndsWithItsWorker(t *testing.T) {
	t.Parallel()
	contained(t)
	parent := exec.Command(os.Args[0]) //nolint:gosec // this test
	temp := t.TempDir()
	parent.Env = append(os.Environ(), "PROGRAM_CONTAINER_PARENT="+temp)
	ready, err := parent.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	_, err = ready.Read(make([]byte, 1))
	require.NoError(t, err)
	roots, err := filepath.Glob(filepath.Join(temp, rootPattern+"*"))
	require.NoError(t, err)
	require.Len(t, roots, 1)
	require.NotEmpty(t, containers(t, roots[0]))
	require.NoError(t, parent.Process.Kill())
	_ = parent.Wait()
	require.Eventually(t, func() bool { return containers(t, roots[0]) == "" }, 20*time.Second, 50*time.Millisecond)
	again, err := OpenFolders(temp)
	require.NoError(t, err)
	assert.NoDirExists(t, roots[0])
	require.NoError(t, again.Close())
}

// fetchURL prints the answer of a URL, in a container.
func fetchURL(url string) {
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		fmt.Println("refused")
		return
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(os.Stdout, resp.Body)
}

// runContainer is the parent of TestContainerEndsWithItsWorker.
func runContainer(temp string) {
	folders, err := OpenFolders(temp)
	if err != nil {
		panic(err)
	}
	r := Runner{Folders: folders, Log: func(_, line string) { _, _ = os.Stderr.WriteString(line) }}
	l, err := listenJob(&r)
	if err != nil {
		panic(err)
	}
	defer func() { _ = l.Close() }()
	_, err = r.Run(context.Background(), inContainer("echo started >&2; sleep 1000"), Job{Description: job})
	panic(err)
}

func TestCheckNamesWhatTheMachineLacks(t *testing.T) {
	t.Parallel()
	contained(t)
	check := func(p Program) error { return p.Check(t.Context(), func(string) {}) }
	require.NoError(t, check(Program{Isolation: Docker, Image: testImage}))
	require.NoError(t, check(Program{}))
	require.ErrorContains(t, check(Program{Name: "p", Isolation: Docker, Image: "127.0.0.1:1/missing:1"}), "the program p: pull the image 127.0.0.1:1/missing:1: ")
}

func TestMount(t *testing.T) {
	t.Parallel()
	assert.Equal(t, `type=bind,source=/a b,target=/a b,readonly`, mount("/a b", true))
	assert.Equal(t, `type=bind,"source=/a,""b","target=/a,""b"`, mount(`/a,"b`, false))
}

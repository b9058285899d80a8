package program

import (
	"context"
	"encoding/json"
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
	"github.com/batchagent/batchagent/pkg/spec"
)

func runner(t *testing.T) *Runner {
	t.Helper()
	folders, err := OpenFolders(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, folders.Close()) })
	return &Runner{Folders: folders, Root: t.TempDir()}
}

func (r *Runner) left(t *testing.T) (names []string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(r.Folders.root, "job-*"))
	require.NoError(t, err)
	return all
}

var job = Description{
	Job: "b_1/job-0", ID: "T-1", Task: "sum it up", Input: json.RawMessage(`{"a":1}`), Model: "m", URL: "http://127.0.0.1:1/s/x", MCPURL: "http://127.0.0.1:1/s/x/mcp",
	Args: map[string]json.RawMessage{"steps": json.RawMessage("20"), "mode": json.RawMessage(`"fast"`)},
}

func TestContract(t *testing.T) {
	t.Setenv("VLLM_API_KEY", "secret-of-the-engine")
	t.Setenv("OWN_SETTING", "kept")
	r := runner(t)
	script := `cat - $BATCHAGENT_INPUT $BATCHAGENT_TASK_FILE; echo; echo "$BATCHAGENT_TASK|$OPENAI_BASE_URL|$ANTHROPIC_BASE_URL|$BATCHAGENT_MCP_URL|$OPENAI_API_KEY|$VLLM_API_KEY|$OWN_SETTING|$1|$2"; pwd`
	p := Program{Argv: []string{"sh", "-c", script, "x", "{task}", "--steps={args.steps}"}}
	a, err := r.Run(t.Context(), p, Job{Description: job})
	require.NoError(t, err)
	assert.Contains(t, a.Text, "sum it up{\"a\":1}sum it up\n"+
		"sum it up|http://127.0.0.1:1/s/x/v1|http://127.0.0.1:1/s/x|http://127.0.0.1:1/s/x/mcp|batchagent|||sum it up|--steps=20\n")
	assert.True(t, strings.HasSuffix(a.Text, "/work"))
	p.Inherit = true
	a, err = r.Run(t.Context(), p, Job{Description: job})
	require.NoError(t, err)
	assert.Contains(t, a.Text, "|batchagent||kept|")
	assert.Empty(t, r.left(t))
}

func TestArgumentsMustNotBecomeOptions(t *testing.T) {
	t.Parallel()
	d := job
	d.Task = "--delete-all"
	_, err := fill([]string{"p", "{task}"}, d, &folder{})
	require.ErrorContains(t, err, "must not begin with")
	argv, err := fill([]string{"p", "--task={task}", "--", "{task}", "{unknown}"}, d, &folder{})
	require.NoError(t, err)
	assert.Equal(t, []string{"p", "--task=--delete-all", "--", "--delete-all", "{unknown}"}, argv)
	_, err = fill([]string{"p", "{args.nothing}"}, d, &folder{})
	require.ErrorContains(t, err, "agent.args has no such name")
	d.Task = "a\x00b"
	_, err = fill([]string{"p", "{task}"}, d, &folder{})
	require.ErrorContains(t, err, "NUL")
}

func TestAnswerInAFile(t *testing.T) {
	t.Parallel()
	r := runner(t)
	p := Program{Argv: []string{"sh", "-c", "echo noise; echo '{}' > answer.json; ln -s /etc/passwd link; mkfifo pipe"}}
	a, err := r.Run(t.Context(), p, Job{Description: job, Output: "answer.json"})
	require.NoError(t, err)
	assert.Equal(t, "{}", a.Text)
	for _, name := range []string{"missing", "link", "pipe", "../job/job.json"} {
		_, err = r.Run(t.Context(), p, Job{Description: job, Output: name})
		require.ErrorContains(t, err, "ended without its answer", name)
	}
}

func TestWorkspace(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git on this machine")
	}
	r := runner(t)
	from := filepath.Join(r.Root, "repo")
	require.NoError(t, os.MkdirAll(filepath.Join(from, "src"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(from, "src", "a.txt"), []byte("one\n"), 0o644))
	p := Program{Argv: []string{"sh", "-c", `cat src/a.txt; echo two >> src/a.txt; printf '\377\376' > new.bin; ln -s /etc/passwd leak; mkfifo pipe; head -c 300000 /dev/zero | tr '\0' x > big.txt`}}
	a, err := r.Run(t.Context(), p, Job{Description: job, Workspace: &spec.Workspace{From: "repo", Collect: []string{"src/*.txt", "new.bin", "leak", "pipe", "big.txt", "none"}, Diff: true}})
	require.NoError(t, err)
	assert.Equal(t, "one", a.Text)
	assert.Contains(t, a.Diff, "new.bin")
	assert.Contains(t, a.Diff, "GIT binary patch", "one of the files is not UTF-8")
	assert.Equal(t, batch.File{Text: "one\ntwo\n", Size: 8}, a.Files["src/a.txt"])
	assert.Equal(t, batch.File{Base64: []byte{0xff, 0xfe}, Size: 2}, a.Files["new.bin"])
	assert.NotContains(t, a.Files, "leak")
	assert.NotContains(t, a.Files, "pipe")
	assert.Len(t, a.Files["big.txt"].Text, maxFile)
	assert.True(t, a.Files["big.txt"].Cut)
	text, err := os.ReadFile(filepath.Join(from, "src", "a.txt"))
	require.NoError(t, err)
	assert.Equal(t, "one\n", string(text), "the source is unchanged")
	assert.Empty(t, r.left(t))

	git := func(args ...string) {
		cmd := exec.Command("git", append([]string{"-c", "user.name=n", "-c", "user.email=e@x"}, args...)...)
		cmd.Dir = from
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	git("init", "-q")
	git("add", ".")
	git("commit", "-qm", "first")
	git("tag", "v1")
	require.NoError(t, os.WriteFile(filepath.Join(from, "src", "a.txt"), []byte("later\n"), 0o644))
	git("commit", "-qam", "second")
	git("bundle", "create", "-q", filepath.Join(r.Root, "repo.bundle"), "--all")
	cat := Program{Argv: []string{"cat", "src/a.txt"}}
	for at, want := range map[string]string{"v1": "one", "": "later"} {
		a, err = r.Run(t.Context(), cat, Job{Description: job, Workspace: &spec.Workspace{From: "repo.bundle", At: at}})
		require.NoError(t, err)
		assert.Equal(t, want, a.Text)
	}
	for _, w := range []spec.Workspace{{From: "repo.bundle", At: "v9"}, {From: "nothing"}, {From: "../x"}} {
		_, err = r.Run(t.Context(), cat, Job{Description: job, Workspace: &w})
		var e *batch.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, batch.BadInput, e.Type)
	}
}

func TestProgramIsTimed(t *testing.T) {
	t.Parallel()
	_, err := runner(t).Run(t.Context(), Program{Argv: []string{"sleep", "60"}, Timeout: 200 * time.Millisecond}, Job{Description: job})
	var e *batch.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, batch.Timeout, e.Type)
}

// A worker that was killed leaves its root. The next one removes it, but not that of a worker that lives.
func TestFoldersOfKilledWorkersAreRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	dead, err := OpenFolders(dir)
	require.NoError(t, err)
	_, err = dead.open()
	require.NoError(t, err)
	require.NoError(t, dead.lock.Close()) // as the kernel does
	living, err := OpenFolders(dir)
	require.NoError(t, err)
	third, err := OpenFolders(dir)
	require.NoError(t, err)
	assert.NoDirExists(t, dead.root)
	assert.DirExists(t, living.root)
	require.NoError(t, living.Close())
	require.NoError(t, third.Close())
}

// echoes is a program that serves jobs: it answers each with its task, a failure or nothing.
const echoes = `
import json, os, socket
s = socket.socket(socket.AF_UNIX); s.bind(os.environ["BATCHAGENT_SOCKET"]); s.listen()
c, _ = s.accept()
for line in c.makefile():
    m = json.loads(line)
    if m["type"] != "job" or m["task"] == "silent": continue
    if m["task"] == "die": os._exit(1)
    r = {"type": "answer", "run": m["run"], "output": {"said": m["task"]}}
    if m["task"] == "fail": r = {"type": "failed", "run": m["run"], "message": "I could not"}
    c.sendall((json.dumps(r) + "\n").encode())
`

func TestServer(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("there is no python3 on this machine")
	}
	r := runner(t)
	s := r.Server(Program{Name: "echoes", Argv: []string{"python3", "-c", echoes}})
	defer s.Close()
	ask := func(ctx context.Context, id, task string) (string, error) {
		return s.Run(ctx, Description{Job: id, Task: task})
	}
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			text, err := ask(t.Context(), string(rune('a'+i)), "hello")
			assert.NoError(t, err)
			assert.JSONEq(t, `{"said":"hello"}`, text)
		})
	}
	all.Wait()
	// A worker may get a job again before its earlier attempt has ended.
	early, end := context.WithCancel(t.Context())
	defer end()
	all.Go(func() {
		_, err := ask(early, "twice", "silent")
		assert.ErrorIs(t, err, context.Canceled)
	})
	text, err := ask(t.Context(), "twice", "hello")
	require.NoError(t, err)
	assert.JSONEq(t, `{"said":"hello"}`, text)
	end()
	all.Wait()
	_, err = ask(t.Context(), "f", "fail")
	require.EqualError(t, err, "ProgramFailed: I could not")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = ask(ctx, "s", "silent")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = ask(t.Context(), "d", "die")
	require.ErrorIs(t, err, ErrGone)
	text, err = ask(t.Context(), "e", "again") // the process starts again
	require.NoError(t, err)
	assert.JSONEq(t, `{"said":"again"}`, text)
	require.Eventually(t, func() bool { return len(r.left(t)) == 1 }, 20*time.Second, 10*time.Millisecond, "the first process' folder is removed when it has ended")
}

func TestServerThatNeverListens(t *testing.T) {
	t.Parallel()
	s := runner(t).Server(Program{Name: "broken", Argv: []string{"sh", "-c", "echo no module >&2; exit 1"}})
	defer s.Close()
	_, err := s.Run(t.Context(), job)
	require.ErrorContains(t, err, "no module")
}

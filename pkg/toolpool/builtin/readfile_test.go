package builtin_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/builtin"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// open creates a root with files in it, a secret beside it, and a pool with read_file.
func open(t *testing.T, files map[string]string) (dir string, p *toolpool.Pool) {
	t.Helper()
	outer := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outer, "secret.txt"), []byte("the secret"), 0o600))
	dir = filepath.Join(outer, "root")
	require.NoError(t, os.Mkdir(dir, 0o700))
	for name, text := range files {
		name = filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	}
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, root.Close()) })
	p, err = toolpool.New(toolpool.Config{})
	require.NoError(t, err)
	for _, tool := range []toolpool.Tool{builtin.ReadFile(root, nil), builtin.ListFiles(root), builtin.GrepFiles(root, nil)} {
		require.NoError(t, p.Register(tool))
	}
	return dir, p
}

type args map[string]any

func read(t *testing.T, p *toolpool.Pool, a args) toolpool.Result {
	t.Helper()
	return use(t, p, "read_file", a)
}

func use(t *testing.T, p *toolpool.Pool, name string, a args) toolpool.Result {
	t.Helper()
	text, err := json.Marshal(a)
	require.NoError(t, err)
	r, err := p.Call(t.Context(), toolpool.Call{Name: name, Arguments: string(text)})
	require.NoError(t, err)
	return r
}

func TestReadFile(t *testing.T) {
	t.Parallel()
	_, p := open(t, map[string]string{
		"a.txt":       "one\ntwo\nthree\n",
		"b/c.txt":     "no newline at the end",
		"empty":       "",
		"bin":         "ab\x00cd",
		"latin1.txt":  "caf\xe9",
		"..dots.txt":  "a name may start with dots",
		"b/sub/d.txt": "x",
	})
	for _, c := range []struct {
		args   args
		want   string
		failed bool
	}{
		{args{"path": "a.txt"}, "one\ntwo\nthree\n", false},
		{args{"path": "./b/../a.txt"}, "one\ntwo\nthree\n", false},
		{args{"path": "b/c.txt"}, "no newline at the end", false},
		{args{"path": "..dots.txt"}, "a name may start with dots", false},
		{args{"path": "a.txt", "start_line": 2}, "two\nthree\n", false},
		{args{"path": "a.txt", "start_line": 2, "end_line": 2}, "two\n", false},
		{args{"path": "a.txt", "end_line": 1}, "one\n", false},
		{args{"path": "a.txt", "start_line": 3, "end_line": 99}, "three\n", false},
		{args{"path": "b/c.txt", "start_line": 1, "end_line": 1}, "no newline at the end", false},
		{args{"path": "empty"}, "(the file is empty)", false},
		{args{"path": "b"}, "\"b\" is a directory, not a file. It holds:\nc.txt\nsub/\n", false},

		{args{"path": "a.txt", "start_line": 4}, `"a.txt" has only 3 lines`, true},
		{args{"path": "b/c.txt", "start_line": 2}, `"b/c.txt" has only 1 lines`, true},
		{args{"path": "a.txt", "start_line": 3, "end_line": 2}, `end_line 2 is before start_line 3`, true},
		{args{"path": "a.txt", "start_line": 0}, `minimum`, true},
		{args{"path": "bin"}, `"bin" is not a UTF-8 text file (5 bytes)`, true},
		{args{"path": "latin1.txt"}, `is not a UTF-8 text file`, true},
		{args{"path": "none.txt"}, `there is no file "none.txt"`, true},
		{args{"path": "a.txt/x"}, `cannot be read`, true},
		{args{"path": "a\x00b"}, `cannot be read`, true},
		{args{}, `missing "path"`, true},
	} {
		r := read(t, p, c.args)
		assert.Equal(t, c.failed, r.Failed, c.args)
		if c.failed {
			assert.Contains(t, r.Content, c.want)
		} else {
			assert.Equal(t, c.want, r.Content)
		}
	}
	assert.Contains(t, read(t, p, args{"path": ""}).Content, "a.txt\nb/\nbin\n", "the empty path is the root")
}

func TestNothingOutsideTheRootIsRead(t *testing.T) {
	t.Parallel()
	dir, p := open(t, map[string]string{"in.txt": "inside", "sub/x": "x"})
	outside := filepath.Join(filepath.Dir(dir), "secret.txt")
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "absolute-link")))
	require.NoError(t, os.Symlink("../secret.txt", filepath.Join(dir, "relative-link")))
	require.NoError(t, os.Symlink("..", filepath.Join(dir, "dir-link")))
	require.NoError(t, os.Symlink("../in.txt", filepath.Join(dir, "sub", "good-link")))
	for _, name := range []string{
		outside, "../secret.txt", "sub/../../secret.txt", "sub/../../root/../secret.txt", "./../secret.txt",
		"absolute-link", "relative-link", "dir-link/secret.txt", "..", "/", "dir-link", `..\secret.txt`,
	} {
		r := read(t, p, args{"path": name})
		assert.True(t, r.Failed, name)
		assert.NotContains(t, r.Content, "the secret")
		if name != outside {
			assert.NotContains(t, r.Content, filepath.Dir(dir), "the result does not contain the root's path")
		}
	}
	assert.Equal(t, "inside", read(t, p, args{"path": "sub/good-link"}).Content)
}

func TestNamedPipeIsRefused(t *testing.T) {
	t.Parallel()
	dir, p := open(t, nil)
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	assert.Contains(t, read(t, p, args{"path": "pipe"}).Content, "not a regular file")
}

func TestLongFilesAreCutWithANote(t *testing.T) {
	t.Parallel()
	var lines strings.Builder
	for lines.Len() < 600<<10 {
		lines.WriteString("a line of text, ä\n")
	}
	_, p := open(t, map[string]string{
		"lines.txt": lines.String(),
		"one.txt":   "x" + strings.Repeat("é", 200<<10), // the limit is within a character
		"exact.txt": strings.Repeat("y", 256<<10),
	})
	var whole strings.Builder
	start := 1
	for range 3 {
		r := read(t, p, args{"path": "lines.txt", "start_line": start})
		require.False(t, r.Failed)
		require.LessOrEqual(t, len(r.Content), 257<<10)
		text, note, cut := strings.Cut(r.Content, "[cut: ")
		whole.WriteString(text)
		if !cut {
			break
		}
		start += strings.Count(text, "\n")
		assert.Contains(t, note, "read on with start_line")
	}
	assert.Equal(t, lines.String(), whole.String(), "following the notes gives the whole file")

	r := read(t, p, args{"path": "one.txt"})
	assert.False(t, r.Failed, r.Content[:min(200, len(r.Content))])
	assert.Contains(t, r.Content, "[cut: the first 262143 bytes of line 1 of a file of 409601 bytes")
	assert.Equal(t, 256<<10, len(read(t, p, args{"path": "exact.txt"}).Content))
}

func TestChangedFileIsReadAgain(t *testing.T) {
	t.Parallel()
	dir, p := open(t, map[string]string{"a.txt": "old"})
	name := filepath.Join(dir, "a.txt")
	past := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(name, past, past))
	assert.Equal(t, toolpool.Result{Content: "old", Executed: true, Source: toolpool.FromTool}, read(t, p, args{"path": "a.txt"}))
	assert.Equal(t, toolpool.Result{Content: "old", Source: toolpool.FromCache}, read(t, p, args{"path": "a.txt"}))
	require.NoError(t, os.WriteFile(name, []byte("new"), 0o600))
	assert.Equal(t, toolpool.Result{Content: "new", Executed: true, Source: toolpool.FromTool}, read(t, p, args{"path": "a.txt"}))
	require.NoError(t, os.Remove(name))
	assert.True(t, read(t, p, args{"path": "a.txt"}).Failed)
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"../secret.txt", "a.txt", "/etc/hostname", "a/../../secret.txt", "./.", "\x00", "a.txt/", "C:\\x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		_, p := open(t, map[string]string{"a.txt": "inside"})
		r := read(t, p, args{"path": name})
		assert.NotEmpty(t, r.Content)
		assert.NotContains(t, r.Content, "the secret")
	})
}

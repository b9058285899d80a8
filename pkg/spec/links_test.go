package spec

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func link(t *testing.T, dir, name, target string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
	require.NoError(t, os.Symlink(target, filepath.Join(dir, name)))
}

func TestGlobFollowsLinksToFilesInside(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{
		"b.yaml":  "task: \"{content}\"\ninputs: \"snapshots/**/*.md\"\non_bad_input: skip\n",
		"blobs/1": "one", "snapshots/v1/plain.md": "two", "elsewhere/x.md": "",
	})
	link(t, dir, "snapshots/v1/a.md", "../../blobs/1")
	link(t, dir, "snapshots/v1/b.md", "a.md")
	link(t, dir, "snapshots/v1/circle.md", "circle.md")
	link(t, dir, "snapshots/v1/gone.md", "../nowhere")
	link(t, dir, "snapshots/v1/null.md", "/dev/null")
	link(t, dir, "snapshots/v1/pdf", "../../blobs/1")
	link(t, dir, "snapshots/loop", "..")
	link(t, dir, "snapshots/.hidden.md", "../../blobs/1")
	s, err := Load(filepath.Join(dir, "b.yaml"), LoadOptions{ToolsRoot: dir})
	require.NoError(t, err)
	var got []string
	for _, in := range collect(t.Context(), t, s) {
		content, _ := in.Fields["content"].(string)
		got = append(got, in.Where+": "+content+in.Bad)
	}
	assert.Equal(t, []string{
		"snapshots/v1/a.md: one", "snapshots/v1/b.md: one",
		"snapshots/v1/circle.md: it is a symbolic link to circle.md, which is part of a loop of links",
		"snapshots/v1/gone.md: it is a symbolic link to ../nowhere, which does not exist",
		"snapshots/v1/plain.md: two",
	}, got)
	assert.Equal(t, []string{"1 link to a folder was not followed under " + filepath.Join(dir, "snapshots") +
		", for example loop -> ..; name the folders that they lead to in patterns of their own"}, s.notes())
	first, err := s.Prepare(t.Context())
	require.NoError(t, err)
	before, err := first.Fingerprint()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "blobs/1"), []byte("other"), 0o600))
	second, err := s.Prepare(t.Context())
	require.NoError(t, err)
	after, err := second.Fingerprint()
	require.NoError(t, err)
	assert.NotEqual(t, before, after, "the fingerprint depends on the linked file, not on the link")
}

func TestGlobCountsLinksOutside(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"snap/b.yaml": "task: \"{path}\"\ninputs: \"*.md\"\n", "snap/c.md": "x", "blobs/1": "one"})
	link(t, dir, "snap/a.md", "../blobs/1")
	link(t, dir, "snap/b.md", "../blobs/1")
	s, err := Load(filepath.Join(dir, "snap/b.yaml"), LoadOptions{ToolsRoot: filepath.Join(dir, "snap")})
	require.NoError(t, err)
	_, err = s.Prepare(t.Context())
	snap := filepath.Join(dir, "snap")
	require.ErrorContains(t, err, "2 symbolic links of 3 matching files under "+snap+" lead out of "+snap+", for example a.md -> ../blobs/1; set root: to a folder")

	require.NoError(t, os.WriteFile(filepath.Join(snap, "b.yaml"), []byte("task: \"{path}\"\ninputs: {glob: \"snap/*.md\", root: ..}\n"), 0o600))
	s, err = Load(filepath.Join(snap, "b.yaml"), LoadOptions{ToolsRoot: dir})
	require.NoError(t, err)
	assert.Len(t, collect(t.Context(), t, s), 3)
}

func TestGlobSkipsUnneededUnreadableFolders(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"a/x.md": "", "locked/x.md": "", "top.md": ""})
	require.NoError(t, os.Chmod(filepath.Join(dir, "locked"), 0))
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "locked"), 0o755) })
	if _, err := os.ReadDir(filepath.Join(dir, "locked")); err == nil {
		t.Skip("this user reads every folder")
	}
	for inputs, want := range map[string]int{"'*.md'": 1, "'a/*.md'": 1, "{glob: '**/*.md', exclude: [locked]}": 2, "'**/*.md'": -1} {
		s, err := Load(write(t, dir, "task: \"{path}\"\ninputs: "+inputs+"\n"), LoadOptions{ToolsRoot: dir})
		require.NoError(t, err)
		p, err := s.Prepare(t.Context())
		if want < 0 {
			require.ErrorContains(t, err, "name it in exclude")
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, int64(want), p.Total, inputs)
	}
}

// write writes a spec into dir.
func write(t *testing.T, dir, text string) string {
	t.Helper()
	path := filepath.Join(dir, "b.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestMayMatchBelow(t *testing.T) {
	t.Parallel()
	for at, want := range map[string]bool{
		"*.md in a": false, "a/*.md in a": true, "a/*.md in b": false, "*/*.md in b": true, "*/*.md in b/c": false,
		"**/*.md in a/b/c": true, "a/**/x in b": false, "a/**/x in a/b": true, "{a/b,c}/*.md in a/b": true, "a?/b in ab": true, "[ab]/x in c": false,
	} {
		pattern, dir, _ := strings.Cut(at, " in ")
		assert.Equal(t, want, mayMatchBelow(pattern, dir), at)
	}
}

func TestNoMatchNamesThePattern(t *testing.T) {
	t.Parallel()
	files := map[string]string{"x[0-9].md": ""}
	for inputs, want := range map[string]string{
		"'docs*.md'":          `there are no inputs: no file matches "docs*.md" in `,
		"{glob: 'x[0-9].md'}": `a file has exactly this name, so escape the pattern characters: "x\\[0-9\\].md"`,
		"none.csv":            "there are no inputs: none.csv has a header row and no other",
		"empty.txt":           "there are no inputs: nothing to do",
	} {
		_, err := compile(t, "task: x\ninputs: "+inputs+"\n", map[string]string{"x[0-9].md": files["x[0-9].md"], "none.csv": "a,b\n", "empty.txt": ""}, LoadOptions{})
		require.ErrorContains(t, err, want, inputs)
	}
	p, err := compile(t, "task: \"{path}\"\ninputs: {glob: 'x\\[0-9\\].md'}\n", files, LoadOptions{})
	require.NoError(t, err)
	assert.Equal(t, int64(1), p.Total)
}

package builtin_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/redact"
	"github.com/batchagent/batchagent/pkg/toolpool/builtin"
)

func TestListFiles(t *testing.T) {
	t.Parallel()
	dir, p := open(t, map[string]string{"a.txt": "1", "b/c.txt": "2", "b/d/e.md": "3", "b/d/f.txt": "4"})
	long := filepath.Join(dir, "long", strings.Repeat("a", 200))
	require.NoError(t, os.MkdirAll(long, 0o700))
	require.NoError(t, os.Symlink("../secret.txt", filepath.Join(dir, "out")))
	require.NoError(t, os.Symlink("..", filepath.Join(dir, "up")))
	for _, c := range []struct {
		args   args
		want   string
		failed bool
	}{
		{args{}, "a.txt\nb/\nlong/\nout\nup\n", false},
		{args{"path": "b"}, "b/c.txt\nb/d/\n", false},
		{args{"glob": "**/*.txt"}, "a.txt\nb/c.txt\nb/d/f.txt\n", false},
		{args{"path": "b", "glob": "**/*.{md,txt}"}, "b/c.txt\nb/d/e.md\nb/d/f.txt\n", false},
		{args{"path": "./b/", "glob": "d/*"}, "b/d/e.md\nb/d/f.txt\n", false},
		{args{"glob": "*.go"}, "(nothing matches)\n", false},
		{args{"path": ".."}, "cannot be read", true},
		{args{"path": "up"}, "cannot be read", true},
		{args{"path": "/"}, "cannot be read", true},
		{args{"path": "none"}, `there is no file "none"`, true},
		{args{"path": "a.txt"}, `"a.txt" is a file, not a folder`, true},
		{args{"glob": "[a"}, "is not a glob", true},
		// Matching these takes time that doubles with each pair or level of braces.
		{args{"glob": strings.Repeat("{a,aa}", 40) + "b", "path": "long"}, "more than 256 alternatives", true},
		{args{"glob": strings.Repeat("{a,", 30) + strings.Repeat("{b,bb}", 30) + strings.Repeat("}", 30), "path": "long"}, "more than 256 alternatives", true},
		{args{"glob": strings.Repeat("{a[}],aa}", 40) + "[{]", "path": "long"}, "more than 256 alternatives", true},
		{args{"glob": strings.Repeat("{", 2000) + "a" + strings.Repeat("}", 2000)}, "more than 1000 bytes", true},
		{args{"glob": `\{a,b\}` + strings.Repeat("{a.txt,b,c,d}", 4)}, "(nothing matches)\n", false},
	} {
		r := use(t, p, "list_files", c.args)
		assert.Equal(t, c.failed, r.Failed, "%v: %s", c.args, r.Content)
		if c.failed {
			assert.Contains(t, r.Content, c.want)
			assert.NotContains(t, r.Content, filepath.Dir(dir))
		} else {
			assert.Equal(t, c.want, r.Content, c.args)
		}
	}
}

func TestGrepFiles(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("needle\n", 300)
	dir, p := open(t, map[string]string{
		"a.txt": "one\nTwo needles\r\nthree", "b/c.go": "func Needle() {}\n", "bin": "needle\x00", "m/many.txt": many,
		"long": strings.Repeat("é", 1000) + "end",
	})
	require.NoError(t, os.Symlink("../secret.txt", filepath.Join(dir, "out")))
	for _, c := range []struct {
		args   args
		want   string
		failed bool
	}{
		{args{"pattern": "needle", "path": "a.txt"}, "a.txt:2: Two needles\n", false},
		{args{"pattern": "(?i)needle", "glob": "{a.txt,b/*}"}, "a.txt:2: Two needles\nb/c.go:1: func Needle() {}\n", false},
		{args{"pattern": "^func (\\w+)", "path": "b"}, "b/c.go:1: func Needle() {}\n", false},
		{args{"pattern": "nothing such", "path": "b"}, "(no match)\n", false},
		{args{"pattern": "needle", "path": "bin"}, "(no match)\n[1 files skipped: not UTF-8 text, or unreadable]\n", false},
		{args{"pattern": "secret", "path": "out"}, "cannot be read", true},
		{args{"pattern": "secret", "path": "../secret.txt"}, "cannot be read", true},
		{args{"pattern": "(?=x)"}, "not a regular expression in RE2 syntax", true},
		{args{"pattern": strings.Repeat("x", 2000)}, "more than 1000 bytes", true},
		{args{"pattern": "x", "glob": strings.Repeat("{a,aa}", 40)}, "more than 256 alternatives", true},
	} {
		r := use(t, p, "grep_files", c.args)
		assert.Equal(t, c.failed, r.Failed, "%v: %s", c.args, r.Content)
		if c.failed {
			assert.Contains(t, r.Content, c.want)
		} else {
			assert.Equal(t, c.want, r.Content, c.args)
		}
	}
	r := use(t, p, "grep_files", args{"pattern": "secret"})
	assert.Contains(t, r.Content, "(no match)", "the link that leads outside is not searched")
	r = use(t, p, "grep_files", args{"pattern": "needle", "path": "m"})
	assert.Equal(t, 200, strings.Count(r.Content, "needle"))
	assert.Contains(t, r.Content, "[cut: stopped at 200 matches")
	r = use(t, p, "grep_files", args{"pattern": "end$"})
	assert.Contains(t, r.Content, fmt.Sprintf("long:1: %s…\n", strings.Repeat("é", 150)))
}

// Matches do not reveal a secret piece by piece.
func TestGrepDoesNotMatchSecrets(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.env"), []byte("KEY=sk-live-4f9a8c21e7b0d63a5\n"), 0o600))
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	tool := builtin.GrepFiles(root, redact.New("sk-live-4f9a8c21e7b0d63a5"))
	for pattern, want := range map[string]string{"sk-live-4": "(no match)\n", "KEY=": "a.env:1: KEY=[secret]\n"} {
		out, err := tool.Run(t.Context(), json.RawMessage(`{"pattern":"`+pattern+`","path":"."}`))
		require.NoError(t, err)
		assert.Equal(t, want, out)
	}
}

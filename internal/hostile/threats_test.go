package hostile

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// SECURITY.md names a test for each line of its threat model, and every named test exists.
func TestThreatModelNamesTests(t *testing.T) {
	text, err := os.ReadFile("../../SECURITY.md")
	require.NoError(t, err)
	_, model, found := strings.Cut(string(text), "## Threat model")
	require.True(t, found)
	model, _, _ = strings.Cut(model, "\n## ")
	declared := map[string]bool{}
	declaration := regexp.MustCompile(`(?m)^func (Test\w+|Fuzz\w+)\(`)
	require.NoError(t, filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range declaration.FindAllSubmatch(source, -1) {
			declared[strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../../")+"."+string(m[1])] = true
		}
		return err
	}))
	named := regexp.MustCompile("`([a-z][a-z0-9/]*\\.(?:Test|Fuzz)\\w+)`")
	rows := 0
	for line := range strings.Lines(model) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| who") {
			continue
		}
		rows++
		tests := named.FindAllStringSubmatch(line, -1)
		assert.NotEmpty(t, tests, line)
		for _, m := range tests {
			assert.True(t, declared[m[1]], "%s does not exist", m[1])
		}
	}
	assert.Greater(t, rows, 15)
}

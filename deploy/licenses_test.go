package deploy_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLicensesAreCurrent compares the modules linked into the programs with the modules in THIRD_PARTY_LICENSES.
func TestLicensesAreCurrent(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags=sql", "-f", "{{with .Module}}{{if .Version}}{{.Path}} {{.Version}}{{end}}{{end}}",
		"./cmd/...", "./deploy/probe")
	cmd.Dir, cmd.Env = "..", append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	out, err := cmd.Output()
	require.NoError(t, err)
	linked := slices.Compact(slices.Sorted(strings.FieldsFuncSeq(string(out), func(r rune) bool { return r == '\n' })))
	head, texts, found := strings.Cut(read(t, "../THIRD_PARTY_LICENSES"), "\n====")
	require.True(t, found)
	_, listed, _ := strings.Cut(head, "\n\n")
	assert.Equal(t, linked, strings.Split(strings.TrimSpace(listed), "\n"), "run make licenses")
	for _, module := range linked {
		path, _, _ := strings.Cut(module, " ")
		assert.Contains(t, texts, "\n"+path, "%s has no licence: run make licenses", module)
	}
	assert.Contains(t, texts, "\nThe Go standard library (BSD-3-Clause)\n")
	assert.Contains(t, read(t, "../NOTICE"), "THIRD_PARTY_LICENSES")
	assert.Contains(t, read(t, "Dockerfile"), "\nCOPY LICENSE NOTICE THIRD_PARTY_LICENSES /licenses/\n")
}

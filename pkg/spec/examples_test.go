package spec

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Users run the examples in the repository's root, and read_file then sees that folder.
const repository = "../.."

func compileExample(t *testing.T, name string, tools ...string) *Prepared {
	t.Helper()
	s, err := Load(filepath.Join(repository, "examples", name, "batch.yaml"), LoadOptions{ToolsRoot: repository})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	p, err := s.Prepare(t.Context())
	require.NoError(t, err)
	assert.Equal(t, name, p.Jobs.Name)
	assert.Equal(t, append([]string{"read_file"}, tools...), p.Jobs.Tools)
	assert.NotEmpty(t, p.Jobs.Schema)
	assert.Equal(t, 1, strings.Count(p.Jobs.System, string(p.Jobs.Schema)))
	return p
}

// paths renders every job's prompt and returns the files that the jobs name.
func paths(t *testing.T, p *Prepared) []string {
	t.Helper()
	var out []string
	for _, wire := range payloads(t, p) {
		var payload Payload
		require.NoError(t, json.Unmarshal([]byte(wire), &payload))
		prompt, err := p.Jobs.Prompt(payload.Input)
		require.NoError(t, err)
		path, ok := payload.Input["path"].(string)
		require.True(t, ok, wire)
		assert.Contains(t, prompt, path)
		assert.FileExists(t, filepath.Join(repository, path))
		out = append(out, path)
	}
	assert.Len(t, out, int(p.Total))
	return out
}

func TestExampleCodeReview(t *testing.T) {
	t.Parallel()
	all := paths(t, compileExample(t, "code-review"))
	assert.Contains(t, all, "pkg/spec/template.go")
	assert.NotContains(t, all, "pkg/spec/examples_test.go")
}

func TestExampleReturns(t *testing.T) {
	t.Parallel()
	assert.EqualValues(t, 6, compileExample(t, "returns", "order_record").Total)
}

func TestExamplePapers(t *testing.T) {
	t.Parallel()
	assert.Len(t, paths(t, compileExample(t, "papers")), 6)
}

func TestExamplesWithOtherTools(t *testing.T) {
	t.Parallel()
	for name, jobs := range map[string]int64{"survey": 0, "enrichment": 6} {
		s, err := Load(filepath.Join(repository, "examples", name, "batch.yaml"), LoadOptions{ToolsRoot: repository})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		p, err := s.Prepare(t.Context())
		require.NoError(t, err)
		assert.Equal(t, jobs, p.Total)
	}
}

func TestExampleTickets(t *testing.T) {
	t.Parallel()
	p := compileExample(t, "tickets")
	all := paths(t, p)
	assert.Len(t, all, 40)
	// A token is about four bytes: the prefix is well over 128 tokens, from which caching shows.
	assert.Greater(t, len(p.Jobs.System), 4*200)
	for _, path := range all {
		text, err := os.ReadFile(filepath.Join(repository, path))
		require.NoError(t, err)
		words := len(strings.Fields(string(text)))
		assert.True(t, words >= 40 && words <= 120, "%s has %d words", path, words)
	}
	inbox, err := filepath.Glob(filepath.Join(repository, "examples/tickets/inbox/*.txt"))
	require.NoError(t, err)
	assert.Len(t, inbox, 40)
}

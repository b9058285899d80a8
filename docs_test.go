package batchagent_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/toolset"
	"github.com/batchagent/batchagent/pkg/spec"
)

var named = regexp.MustCompile("`([a-z][a-z0-9_/.-]*\\.go):([A-Za-z.]+)`")

// TestArchitectureNames checks that every `file.go:Function` in ARCHITECTURE.md exists.
func TestArchitectureNames(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("ARCHITECTURE.md")
	require.NoError(t, err)
	// A line break in the text may split a name.
	found := named.FindAllStringSubmatch(strings.ReplaceAll(string(text), "\n   ", " "), -1)
	require.Greater(t, len(found), 10)
	for _, m := range found {
		file, want := m[1], m[2]
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if assert.NoError(t, err) {
			assert.Contains(t, functions(f), want, "%s has no %s", file, want)
		}
	}
}

// functions lists a file's functions as Name and Receiver.Name.
func functions(f *ast.File) []string {
	var out []string
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		name := fn.Name.Name
		if fn.Recv != nil {
			recv := fn.Recv.List[0].Type
			if star, ok := recv.(*ast.StarExpr); ok {
				recv = star.X
			}
			if generic, ok := recv.(*ast.IndexExpr); ok {
				recv = generic.X
			}
			if id, ok := recv.(*ast.Ident); ok {
				name = id.Name + "." + name
			}
		}
		out = append(out, name)
	}
	return out
}

var link = regexp.MustCompile(`\]\(([^)#:\s]+)(#[^)]*)?\)`)

// TestLinks checks that every relative link in the documents leads to a file.
func TestLinks(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{".", "docs", "docs/adr", "bench", "examples/code-review", "examples/tickets", "examples/returns",
		"examples/papers", "examples/survey", "examples/enrichment", "examples/table1"} {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".md") {
				continue
			}
			text, err := os.ReadFile(dir + "/" + e.Name())
			require.NoError(t, err)
			for _, m := range link.FindAllStringSubmatch(string(text), -1) {
				_, err := os.Stat(dir + "/" + m[1])
				assert.NoError(t, err, "%s/%s links to %s", dir, e.Name(), m[1])
			}
		}
	}
}

// TestDocumentedTools reads every tools.yaml in docs/tools-reference.md, and checks that the reference names every tool.
func TestDocumentedTools(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/tools-reference.md")
	require.NoError(t, err)
	blocks := yamlBlock.FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, blocks)
	environment := func(name string) (string, bool) {
		if name == "SHOP_DSN" {
			return "sqlite:shop.db", true
		}
		return "value-of-" + name, true
	}
	for _, b := range blocks {
		file := t.TempDir() + "/tools.yaml"
		require.NoError(t, os.WriteFile(file, []byte(b[1]), 0o600))
		_, err := toolset.Read(file, environment)
		require.NoError(t, err)
	}
	set, err := toolset.Open(t.Context(), &toolset.File{}, toolset.Options{Getenv: func(name string) string {
		if strings.HasSuffix(name, "_API_KEY") {
			return "a key"
		}
		return ""
	}})
	require.NoError(t, err)
	defer set.Close()
	for _, name := range set.Names() {
		assert.Contains(t, string(text), "| `"+name+"` |")
	}
}

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestDocumentedSharing reads the specs and the tools.yaml files in docs/tools.md.
func TestDocumentedSharing(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/tools.md")
	require.NoError(t, err)
	specs := 0
	for _, b := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
		file := t.TempDir() + "/file.yaml"
		require.NoError(t, os.WriteFile(file, []byte(b[1]), 0o600))
		if !strings.HasPrefix(b[1], "name:") {
			_, err := toolset.Read(file, os.LookupEnv)
			assert.NoError(t, err)
			continue
		}
		specs++
		s, err := spec.Load(file, spec.LoadOptions{})
		if assert.NoError(t, err) {
			assert.NoError(t, s.Close())
		}
	}
	assert.Equal(t, 1, specs)
}

// TestDocumentedSpecs loads every spec in README.md and docs/spec.md.
func TestDocumentedSpecs(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{"README.md", "docs/spec.md"} {
		text, err := os.ReadFile(doc)
		require.NoError(t, err)
		blocks := yamlBlock.FindAllStringSubmatch(string(text), -1)
		require.NotEmpty(t, blocks, doc)
		for _, b := range blocks {
			dir := t.TempDir()
			file := dir + "/batch.yaml"
			require.NoError(t, os.WriteFile(dir+"/papers.jsonl", []byte(`{"path":"a.txt"}`), 0o600))
			require.NoError(t, os.WriteFile(dir+"/titles.csv", []byte("title\nA paper\n"), 0o600))
			require.NoError(t, os.WriteFile(dir+"/tickets.csv", []byte("ticket_id,region,text\nT-1,EU,broken\n"), 0o600))
			require.NoError(t, os.WriteFile(file, []byte(b[1]), 0o600))
			s, err := spec.Load(file, spec.LoadOptions{})
			if assert.NoError(t, err, doc) {
				assert.NoError(t, s.Close())
			}
		}
	}
}

package batchagent_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/batchagent/batchagent/"

// mayImport names, for every package that has a rule, which packages of this module its non-test code may
// import. A trailing "/" allows a whole folder.
var mayImport = map[string][]string{
	"internal/fault":       {"internal/human", "pkg/"},
	"internal/notice":      {},
	"internal/outage":      {"internal/notice", "pkg/"},
	"internal/nearest":     {"pkg/"},
	"internal/modelapi":    {"pkg/backend", "pkg/plainjson"},
	"internal/processkit":  {},
	"internal/s3":          {"internal/fault", "pkg/"},
	"pkg/batch":            {},
	"pkg/filter":           {"pkg/batch"},
	"pkg/jsonschema":       {"pkg/plainjson"},
	"pkg/spec":             {"pkg/batch", "pkg/filter", "pkg/jsonschema", "pkg/plainjson", "pkg/strictyaml"},
	"pkg/strictyaml":       {"pkg/jsonschema", "pkg/plainjson"},
	"pkg/statestore":       {"pkg/batch"},
	"pkg/scheduler":        {"pkg/batch"},
	"pkg/toolpool":         {"pkg/batch", "pkg/internal/", "pkg/jsonschema", "pkg/plainjson", "pkg/redact", "pkg/retryafter", "pkg/sleep", "pkg/toolpool/"},
	"pkg/retryafter":       {},
	"pkg/program":          {"pkg/batch", "pkg/internal/", "pkg/redact", "pkg/sleep", "pkg/spec"},
	"pkg/internal/capture": {},
	"pkg/internal/confine": {},
	"pkg/internal/forward": {"pkg/internal/keeper"},
	"pkg/internal/keeper":  {},
	"internal/gateway":     {"internal/modelapi", "internal/version", "pkg/backend", "pkg/toolpool"},
	"internal/programs":    {"internal/fault", "internal/gateway", "internal/s3", "pkg/agent", "pkg/batch", "pkg/program", "pkg/redact", "pkg/sleep", "pkg/spec"},
	"pkg/toolpool/shared":  {"pkg/sleep", "pkg/toolpool"},
	"pkg/backend":          {"pkg/batch"},
	"pkg/backend/endpoint": {"pkg/backend", "pkg/loopback", "pkg/redact"},
	"pkg/redact":           {},
	"pkg/vllmsim":          {"pkg/loopback", "pkg/sleep", "pkg/vllmsim/"},
	"pkg/loopback":         {},
	"pkg/plainjson":        {},
	"pkg/sleep":            {},
	"pkg/modeljson":        {},
	"pkg/agent":            {"pkg/batch", "pkg/jsonschema", "pkg/modeljson", "pkg/plainjson", "pkg/spec", "pkg/backend", "pkg/sleep", "pkg/toolpool", "pkg/toolpool/schema"},
}

// mayNotImport names the packages that a package below the terminal may not import, for each such package.
var mayNotImport = map[string][]string{
	"internal/operation": {"internal/terminal"},
	"internal/collect":   {"internal/terminal", "internal/localrun"},
	"internal/earlier":   {"internal/terminal", "internal/localrun"},
	"internal/localrun":  {"internal/terminal"},
	"internal/diagnose":  {"internal/terminal"},
	"internal/server":    {"internal/terminal", "internal/localrun"},
}

// TestLayout checks the import rules of ARCHITECTURE.md.
func TestLayout(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...").Output()
	require.NoError(t, err)
	dec := json.NewDecoder(strings.NewReader(string(out)))
	seen := map[string]bool{}
	for dec.More() {
		var p struct {
			ImportPath string
			Imports    []string
		}
		require.NoError(t, dec.Decode(&p))
		name := strings.TrimPrefix(p.ImportPath, module)
		seen[name] = true
		for _, forbidden := range []string{"util", "common", "types", "helpers"} {
			assert.NotContains(t, strings.Split(name, "/"), forbidden, "%s: name a package after what it does", name)
		}
		for _, forbidden := range mayNotImport[name] {
			assert.NotContains(t, p.Imports, module+forbidden, "%s imports %s", name, forbidden)
		}
		allowed, ruled := mayImport[name]
		for _, imported := range p.Imports {
			if rest, ours := strings.CutPrefix(imported, module); ours {
				if ruled {
					assert.True(t, permits(allowed, rest), "%s imports %s", name, rest)
				}
				if strings.HasPrefix(name, "pkg/") {
					assert.False(t, strings.HasPrefix(rest, "internal/"), "%s imports %s", name, rest)
				}
				if !testOnly(name) {
					assert.False(t, testOnly(rest), "%s is for tests, but %s imports it", rest, name)
				}
			} else if name == "pkg/batch" {
				assert.False(t, strings.Contains(strings.Split(imported, "/")[0], "."), "pkg/batch imports %s; it may import only the standard library", imported)
			}
		}
	}
	assert.False(t, seen["internal/coordinator"], "the package was divided")
	for name := range mayImport {
		assert.True(t, seen[name], "%s has a rule but does not exist", name)
	}
	for name := range mayNotImport {
		assert.True(t, seen[name], "%s has a rule but does not exist", name)
	}
}

// TestFirstCommandCompilesNoDatabase checks that the README's first command compiles no driver of a database. SQLite takes about as
// long to compile as everything else.
func TestFirstCommandCompilesNoDatabase(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "./cmd/coordinator").Output()
	require.NoError(t, err)
	for dependency := range strings.Lines(string(out)) {
		assert.False(t, strings.HasPrefix(dependency, "modernc.org/") || strings.HasPrefix(dependency, "github.com/jackc/"), dependency)
	}
}

func permits(allowed []string, name string) bool {
	for _, a := range allowed {
		if name == a || strings.HasSuffix(a, "/") && strings.HasPrefix(name, a) {
			return true
		}
	}
	return false
}

func testOnly(name string) bool {
	switch name {
	case "internal/sim", "internal/testredis", "internal/e2e", "internal/flagtest", "internal/processkit", "pkg/backend/backendtest":
		return true
	}
	return strings.HasPrefix(name, "bench/")
}

// consoleWriters are the folders with the terminal package and programs. Their code may write to a console.
var consoleWriters = []string{"internal/terminal/", "cmd/", "bench/", "examples/", "deploy/"}

// consoleNames are names of the standard library, each of which writes to a console. "*" is every name of a package.
var consoleNames = map[string][]string{
	"os":  {"Stdout", "Stderr"},
	"fmt": {"Print", "Printf", "Println"},
	"log": {"*"},
	"log/slog": {
		"Default", "Log", "LogAttrs", "With", "Debug", "DebugContext", "Info", "InfoContext", "Warn", "WarnContext", "Error", "ErrorContext",
	},
}

// consoleExceptions are uses of a standard stream that is a pipe between two processes.
var consoleExceptions = map[string]string{
	"pkg/internal/confine/task.go": "os.Stdout", // a child sends its results to its parent
}

// TestOnlyTerminalWritesToConsole checks that no other code than the terminal package, programs and tests uses a console.
func TestOnlyTerminalWritesToConsole(t *testing.T) {
	files := 0
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.ToSlash(path)
		if d.IsDir() {
			if base := d.Name(); base == "testdata" || base != "." && strings.HasPrefix(base, ".") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || mayWrite(name) {
			return nil
		}
		files++
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for use, pos := range consoleUses(file) {
			if consoleExceptions[name] != use {
				t.Errorf("%s: %s writes to a console; return a value, or print it in internal/terminal", set.Position(pos), use)
			}
		}
		return nil
	}))
	assert.Greater(t, files, 100, "the walk found the code")
}

// TestConsoleUses checks the search itself.
func TestConsoleUses(t *testing.T) {
	const source = `package p

import (
	"fmt"
	stdlog "log"
	"log/slog"
	"os"
)

func f(log *slog.Logger) {
	fmt.Fprintln(os.Stderr)
	fmt.Println()
	stdlog.Fatal()
	slog.Info("")
	println()
	log.Info("")
	fmt.Sprint()
	slog.New(nil)
	_ = os.Args
}
`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, parser.SkipObjectResolution)
	require.NoError(t, err)
	var found []string
	for use := range consoleUses(file) {
		found = append(found, use)
	}
	assert.ElementsMatch(t, []string{"os.Stderr", "fmt.Println", "log.Fatal", "log/slog.Info", "println"}, found)
}

func mayWrite(name string) bool {
	return slices.ContainsFunc(consoleWriters, func(folder string) bool { return strings.HasPrefix(name, folder) })
}

// consoleUses returns the names with which a file writes to a console, each with its first position.
func consoleUses(file *ast.File) map[string]token.Pos {
	packages := map[string]string{} // by their name in this file
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if _, ok := consoleNames[path]; err != nil || !ok {
			continue
		}
		name := path[strings.LastIndex(path, "/")+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		packages[name] = path
	}
	uses := map[string]token.Pos{}
	add := func(use string, pos token.Pos) {
		if _, ok := uses[use]; !ok {
			uses[use] = pos
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && packages[x.Name] != "" {
				path := packages[x.Name]
				if names := consoleNames[path]; slices.Contains(names, "*") || slices.Contains(names, n.Sel.Name) {
					add(path+"."+n.Sel.Name, n.Pos())
				}
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "print" || f.Name == "println") {
				add(f.Name, n.Pos())
			}
		}
		return true
	})
	return uses
}

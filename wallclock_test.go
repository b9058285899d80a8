package batchagent_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// wallClock lists every place where a worker's packages read a wall clock, as file and function. Each value gives the reason why no
// lease, token or result depends on that reading. Durations between two readings of one process are monotonic and do not use
// the wall clock (see the documentation of package time). So the list has the places where a time leaves the process, enters it,
// or loses its monotonic reading.
var wallClock = map[string]string{
	"internal/worker/worker.go Status: Time.UTC":                            "when the worker started, for people",
	"internal/worker/spans.go waitedForSlot: trace.WithTimestamp of a time": "when a wait began, in a trace",

	"pkg/batch/info.go Info: field CreatedAt":         "Redis' time, for people",
	"pkg/batch/info.go Info: field DoneAt":            "Redis' time, for people",
	"pkg/batch/info.go Info: field ExpiresAt":         "Redis' time, for people",
	"pkg/batch/info.go WorkerRecord: field StartedAt": "for people",
	"pkg/batch/info.go Pause: field Since":            "for people",
	"pkg/batch/info.go String: Time.Format":           "for people",
	"pkg/batch/info.go String: Time.Local":            "for people",
	"pkg/batch/info.go WorkerRecord: field SeenAt":    "Redis' time, for people",
	"pkg/batch/info.go WorkerRecord: field DueAt":     "Redis' time, for people",
	"pkg/batch/condition.go StateOf: Time.Format":     "for people",
	"pkg/batch/condition.go StateOf: Time.Local":      "for people",

	"pkg/statestore/control.go Info: Time.UTC":                 "Redis' time, for people",
	"pkg/statestore/control.go Info: time.UnixMilli":           "Redis' time, for people",
	"pkg/statestore/registry.go Register: Time.UTC":            "Redis' time, for people",
	"pkg/statestore/registry.go Register: Time.UnixMilli":      "Redis' time; the order of the list of workers",
	"pkg/statestore/submit.go NewID: ulid.Timestamp of a time": "the submitter's time; it only orders the search, older IDs first",

	"pkg/backend/anthropic/classify.go headroom: time.Parse":  "when a rate limit is full again, measured by the server's own clock",
	"pkg/backend/endpoint/waits.go Tell: Time.Format":         "the end of a long wait, for people",
	"pkg/backend/endpoint/waits.go Tell: Time.UTC":            "the end of a long wait, for people",
	"pkg/toolpool/limit.go take: g.alone.AllowN of a time":    "golang.org/x/time/rate subtracts times, with their monotonic readings",
	"pkg/toolpool/builtin/readfile.go fileKey: Time.UnixNano": "when a file was changed, by its file system",
	"pkg/toolpool/sqltool/lookup.go keyText: Time.Format":     "a value in a database",
	"pkg/toolpool/sqltool/table.go appendValue: Time.Format":  "a value in a database",
}

// ofWorkers are the packages that a worker uses.
var ofWorkers = []string{"./internal/worker", "./pkg/agent", "./pkg/backend/...", "./pkg/batch", "./pkg/scheduler", "./pkg/statestore", "./pkg/toolpool/..."}

// TestWallClock checks that leases use only Redis' clock, so that a wrong clock of a worker has no effect.
func TestWallClock(t *testing.T) {
	found := map[string]bool{}
	for _, p := range typed(t, ofWorkers...) {
		for _, f := range p.files {
			for _, d := range f.Decls {
				for _, what := range wallReads(p.info, d) {
					place := fmt.Sprintf("%s %s: %s", p.name(f), nameOf(d), what)
					found[place] = true
					assert.NotEmpty(t, wallClock[place], "%s reads a wall clock; leases, tokens and results must not depend on it", place)
				}
			}
		}
	}
	for place := range wallClock {
		assert.True(t, found[place], "%s is allowed but does not exist", place)
	}
}

// wallReads returns the uses of a wall clock in a declaration.
func wallReads(info *types.Info, d ast.Decl) []string {
	var out []string
	note := func(what string) {
		if !slices.Contains(out, what) {
			out = append(out, what)
		}
	}
	ast.Inspect(d, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			f, ok := info.Uses[n.Sel].(*types.Func)
			if !ok || f.Pkg() == nil {
				break
			}
			switch name := f.FullName(); {
			case slices.Contains(fromOutside, name):
				note(name)
			case (strings.HasPrefix(name, "(time.Time).") || strings.HasPrefix(name, "(*time.Time).")) && !slices.Contains(monotonic, f.Name()):
				note("Time." + f.Name())
			}
		case *ast.CallExpr:
			if s := handsOut(info, n); s != "" {
				note(s)
			}
		case *ast.StructType:
			for _, f := range n.Fields.List {
				if f.Tag != nil && strings.Contains(f.Tag.Value, "json:") && isTime(info.TypeOf(f.Type)) {
					for _, name := range f.Names {
						note("field " + name.Name)
					}
				}
			}
		}
		return true
	})
	return out
}

// monotonic lists the methods of a time that keep its monotonic reading, or that compare by it if both times have one.
var monotonic = []string{"Add", "After", "Before", "Compare", "Equal", "IsZero", "Sub"}

// fromOutside lists functions that return a time without a monotonic reading.
var fromOutside = []string{"time.Date", "time.Parse", "time.ParseInLocation", "time.Unix", "time.UnixMicro", "time.UnixMilli", "net/http.ParseTime"}

// handsOut returns the name of a called function that gets a time and may read its wall clock.
func handsOut(info *types.Info, call *ast.CallExpr) string {
	sig, ok := info.TypeOf(call.Fun).(*types.Signature)
	if !ok {
		return ""
	}
	for i, arg := range call.Args {
		if !isTime(info.TypeOf(arg)) {
			continue
		}
		param := sig.Params().At(min(i, sig.Params().Len()-1)).Type()
		if s, ok := param.(*types.Slice); ok && sig.Variadic() {
			param = s.Elem()
		}
		name := types.ExprString(call.Fun)
		if types.IsInterface(param) {
			return name + " of a time"
		}
		if f := called(info, call); f != nil && f.Pkg() != nil && !strings.HasPrefix(f.Pkg().Path()+"/", module) {
			switch f.Pkg().Path() {
			case "time", "context", "net", "sync/atomic":
			default:
				return name + " of a time"
			}
		}
	}
	return ""
}

func called(info *types.Info, call *ast.CallExpr) types.Object {
	switch f := ast.Unparen(call.Fun).(type) {
	case *ast.Ident:
		return info.Uses[f]
	case *ast.SelectorExpr:
		return info.Uses[f.Sel]
	}
	return nil
}

func isTime(t types.Type) bool {
	if p, ok := t.(*types.Pointer); ok {
		t = p.Elem()
	}
	n, ok := t.(*types.Named)
	return ok && n.Obj().Pkg() != nil && n.Obj().Pkg().Path() == "time" && n.Obj().Name() == "Time"
}

func nameOf(d ast.Decl) string {
	switch d := d.(type) {
	case *ast.FuncDecl:
		return d.Name.Name
	case *ast.GenDecl:
		if s, ok := d.Specs[0].(*ast.TypeSpec); ok {
			return s.Name.Name
		}
	}
	return "var"
}

// source is a package with the types of its expressions.
type source struct {
	path  string
	fset  *token.FileSet
	files []*ast.File
	info  *types.Info
}

func (s source) name(f *ast.File) string {
	return strings.TrimPrefix(s.path, module) + "/" + filepath.Base(s.fset.Position(f.Pos()).Filename)
}

// typed loads packages without their tests. It reads their imports from the build cache.
func typed(t *testing.T, patterns ...string) []source {
	t.Helper()
	args := append([]string{"list", "-export", "-deps", "-json=ImportPath,Export,Dir,GoFiles,DepOnly"}, patterns...)
	out, err := exec.CommandContext(t.Context(), "go", args...).Output()
	require.NoError(t, err)
	type listed struct {
		ImportPath, Export, Dir string
		GoFiles                 []string
		DepOnly                 bool
	}
	exports := map[string]string{}
	var asked []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p listed
		require.NoError(t, dec.Decode(&p))
		exports[p.ImportPath] = p.Export
		if !p.DepOnly {
			asked = append(asked, p)
		}
	}
	var sources []source
	for _, p := range asked {
		s := source{path: p.ImportPath, fset: token.NewFileSet(), info: &types.Info{
			Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{},
		}}
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(s.fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			s.files = append(s.files, f)
		}
		config := types.Config{Importer: importer.ForCompiler(s.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })}
		_, err := config.Check(p.ImportPath, s.fset, s.files, s.info)
		require.NoError(t, err)
		sources = append(sources, s)
	}
	return sources
}

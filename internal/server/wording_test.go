package server

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ofTerminal matches a flag or a command of the programs.
var ofTerminal = regexp.MustCompile("(^|[ (])--[a-z]|`(coordinator|worker) ")

// beforeRequests are functions whose errors end a program and never reach a client.
var beforeRequests = []string{
	"server.go:Listen",                                             // the address of the server
	"resume.go:check", "resume.go:wayOut", "resume.go:checkMakers", // results files of `run`

}

// Texts of errors, notices and answers that a client of the API can get name fields, not flags or commands of the terminal.
func TestErrorsNameNoFlags(t *testing.T) {
	for _, dir := range []string{".", "../operation", "../earlier", "../nearest", "../fault", "../outage", "../notice", "../../pkg/spec", "../../pkg/strictyaml", "../../pkg/filter", "../../pkg/statestore", "../../pkg/batch"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") || path == "routes.go" { // the document names the commands that use a route
				continue
			}
			checkTexts(t, path)
		}
	}
}

func checkTexts(t *testing.T, path string) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, 0)
	require.NoError(t, err)
	for _, d := range file.Decls {
		name := ""
		if f, ok := d.(*ast.FuncDecl); ok {
			name = f.Name.Name
		}
		if slices.Contains(beforeRequests, filepath.Base(path)+":"+name) {
			continue
		}
		ast.Inspect(d, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(lit.Value)
			require.NoError(t, err)
			assert.False(t, ofTerminal.MatchString(text), "%s: name a field, or let package terminal add the flag: %s", set.Position(lit.Pos()), text)
			return true
		})
	}
}

package main

import (
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/internal/testredis"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, testredis.Dialling()) }

// linesOf counts the lines of a Go file with code. Blank lines, comments, the package clause and imports do not count.
func linesOf(t *testing.T, file string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, file, text, 0)
	require.NoError(t, err)
	begin := set.Position(parsed.Name.End()).Line
	for _, d := range parsed.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.IMPORT {
			begin = set.Position(g.End()).Line
		}
	}
	var s scanner.Scanner
	source := set.AddFile(file, -1, len(text))
	s.Init(source, text, nil, 0)
	lines := map[int]bool{}
	for {
		pos, tok, literal := s.Scan()
		if tok == token.EOF {
			break
		}
		if tok == token.SEMICOLON && literal == "\n" {
			continue
		}
		if line := source.Position(pos).Line; line > begin {
			lines[line] = true
		}
	}
	return len(lines)
}

// TestLineCounts checks the figures in the READMEs, with one rule for both files. The verdict's type counts for batchagent.
func TestLineCounts(t *testing.T) {
	t.Parallel()
	ours, theirs := linesOf(t, "batchagent.go"), linesOf(t, "naive.go")
	assert.LessOrEqual(t, ours, 9)
	for file, figures := range map[string]string{
		"README.md":       `(\d+) lines of code in naive\.go, (\d+) in batchagent\.go`,
		"../../README.md": `one job by hand \((\d+) lines\)\s+and with the library \((\d+)\)`,
	} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		told := regexp.MustCompile(figures).FindStringSubmatch(string(text))
		require.NotNil(t, told, file)
		assert.Equal(t, []string{strconv.Itoa(theirs), strconv.Itoa(ours)}, told[1:], file)
	}
}

func TestBothDoTheSameJob(t *testing.T) {
	t.Parallel()
	address, stop, err := simulator()
	require.NoError(t, err)
	defer func() { assert.NoError(t, stop()) }()
	const n = 20
	var alone, shared policy
	for name, outcomes := range map[string][]outcome{
		"naive":      naive(t.Context(), "http://"+address+"/v1", letters(n), alone.read),
		"batchagent": judged(t.Context(), "vllm://"+address, letters(n), &shared),
	} {
		require.Len(t, outcomes, n, name)
		for _, o := range outcomes {
			require.NoError(t, o.err, name)
			assert.NotEmpty(t, o.verdict.Decision, name)
		}
	}
	assert.EqualValues(t, n, alone.reads.Load(), "nothing is shared")
	assert.Less(t, shared.reads.Load(), int64(n), "overlapping calls run once")
}

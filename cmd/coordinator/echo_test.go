package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEchoWritesEarlierAndNewResults(t *testing.T) {
	d := newDesk(t)
	o := d.run("salt pepper", "--echo")
	require.Equal(t, 0, o.status, o.err)
	assert.Equal(t, read(t, d.out), o.out)
	o = d.run("salt pepper sugar", "--resume", "--echo")
	require.Equal(t, 0, o.status, o.err)
	lines := strings.SplitAfter(strings.TrimSpace(o.out), "\n")
	require.Len(t, lines, 3)
	assert.Contains(t, lines[2], "sugar")
	assert.ElementsMatch(t, results(t, read(t, d.out)), results(t, o.out))
}

func TestOneProgramHasItsOwnName(t *testing.T) {
	var out, errOut strings.Builder
	status := run(t.Context(), []string{"/usr/bin/batchagent", "run"}, streams{in: strings.NewReader(""), out: &out, err: &errOut, getenv: os.Getenv})
	assert.Equal(t, 2, status)
	assert.Contains(t, errOut.String(), "batchagent: ")
	errOut.Reset()
	run(t.Context(), []string{"batchagent", "--help"}, streams{in: strings.NewReader(""), out: &out, err: &errOut, getenv: os.Getenv})
	assert.Contains(t, errOut.String(), "batchagent submit spec.yaml")
	assert.Contains(t, errOut.String(), "batchagent worker --help")
	assert.NotContains(t, errOut.String(), "coordinator ")
	for _, args := range [][]string{{"show"}, {"show", "--help"}, {"submit", "--help"}, {"run", "--help"}, {"completion", "--help"}, {"completion", "bash"}, {"completion", "zsh"}, {"completion", "fish"}, {"budget", "--help"}, {"nothing"},
		{"status", "--redis", "redis://127.0.0.1:1"}, {"run", "../../examples/code-review/batch.yaml"}, {"doctor", "--redis", "redis://127.0.0.1:1"}, {"backends"}} {
		out.Reset()
		errOut.Reset()
		run(t.Context(), append([]string{"batchagent"}, args...), streams{in: strings.NewReader(""), out: &out, err: &errOut, getenv: os.Getenv})
		assert.NotContains(t, errOut.String(), "coordinator ", "%q", args)
		if args[0] != "run" {
			assert.NotContains(t, out.String(), "coordinator ", "%q", args)
		}
	}
}

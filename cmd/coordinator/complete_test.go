package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
)

func TestCompletion(t *testing.T) {
	redis, _ := testredis.Mini(t)
	id := strings.TrimSpace(coordinate(t, nil, "", "submit", specOf(t, 1, ""), "--redis", redis).out)
	for words, want := range map[string]string{
		"ba":                                  "batches backends",
		"sub":                                 "submit",
		"nonsense ":                           "",
		"submit --fo":                         "--format --follow",
		"submit --follow --fo":                "--format",
		"submit --format ":                    "jsonl csv",
		"submit --format c":                   "csv",
		"submit ":                             "",
		"run --out ":                          "",
		"completion ":                         "bash zsh fish",
		"status --redis " + redis + " ":       id,
		"status --redis=" + redis + " b_":     id,
		"status --redis " + redis + " x":      "",
		"status --redis redis://127.0.0.1:1 ": "",
		"results --server " + serving(t, redis, "") + " ": id,
	} {
		r := coordinate(t, nil, "", append([]string{completeCommand}, strings.Split(words, " ")...)...)
		assert.Equal(t, 0, r.status, words)
		assert.Equal(t, want, strings.Join(strings.Fields(r.out), " "), words)
		assert.Empty(t, r.err, words)
	}
	assert.Equal(t, 2, coordinate(t, nil, "", "completion", "tcsh").status)
}

// The script does in a real bash what it should; the program is played.
func TestCompletionInBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash is installed")
	}
	dir := t.TempDir()
	script := filepath.Join(dir, "completion")
	require.NoError(t, os.WriteFile(script, []byte(coordinate(t, nil, "", "completion", "bash").out), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "coordinator"), []byte("#!/bin/sh\nprintf '[%s]\\n' \"$@\"\n"), 0o700)) //nolint:gosec // a program
	c := exec.CommandContext(t.Context(), bash, "--norc", "-c",
		`source "$1"; COMP_LINE="coordinator status --redis redis://h:1 "; COMP_POINT=${#COMP_LINE}; _coordinator; echo "${COMPREPLY[@]}"; complete -p coordinator`, "-", script)
	c.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	out, err := c.CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Equal(t, "[__complete] [status] [--redis] [redis://h:1] []\ncomplete -o default -F _coordinator coordinator\n", string(out))
}

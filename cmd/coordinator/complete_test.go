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
		"submit --format ":                    "jsonl csv parquet jsonl.gz jsonl.zst",
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

// The scripts work in real shells. A fake coordinator prints its arguments.
func TestCompletionScriptsInShells(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"bash": {[]string{"--norc", "-c", `source "$1"; COMP_LINE="coordinator status --redis redis://h:1 "; COMP_POINT=${#COMP_LINE}
			_coordinator; printf '%s\n' "${COMPREPLY[@]}"; complete -p coordinator`, "-"},
			"[__complete]\n[status]\n[--redis]\n[redis://h:1]\n[]\ncomplete -o default -F _coordinator coordinator\n"},
		"zsh": {[]string{"-f", "-c", `autoload -Uz compinit; compinit -D -u; source "$1"; print -r -- ${_comps[coordinator]}
			compadd() { print -rl -- "$@" "${(@P)2}" }; words=(coordinator status --redis redis://h:1 ""); CURRENT=5; _coordinator`, "-"},
			"_coordinator\n-a\nfound\n[__complete]\n[status]\n[--redis]\n[redis://h:1]\n[]\n"},
		"zsh with the script in its function directory": {[]string{"-f", "-c", `cp "$1" "${1:h}/_coordinator"; fpath=("${1:h}" $fpath); autoload -Uz compinit
			compinit -D -u; compadd() { print -rl -- "${(@P)2}" }; words=(coordinator st); CURRENT=2; _coordinator`, "-"},
			"[__complete]\n[st]\n"},
		"fish": {[]string{"--no-config", "-c", `source $argv[1]; complete -C"coordinator status --redis redis://h:1 " | string match '[*' | sort`},
			"[--redis]\n[]\n[__complete]\n[redis://h:1]\n[status]\n"},
	} {
		t.Run(name, func(t *testing.T) {
			shell, _, _ := strings.Cut(name, " ")
			program, err := exec.LookPath(shell)
			if err != nil {
				t.Skipf("no %s is installed", shell)
			}
			dir := t.TempDir()
			script := filepath.Join(dir, "completion")
			require.NoError(t, os.WriteFile(script, []byte(coordinate(t, nil, "", "completion", shell).out), 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "coordinator"), []byte("#!/bin/sh\nprintf '[%s]\\n' \"$@\"\n"), 0o700)) //nolint:gosec // a program
			cmd := exec.CommandContext(t.Context(), program, append(c.args, script)...)
			cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "HOME="+dir, "LC_ALL=C.UTF-8")
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, string(out))
			assert.Equal(t, c.says, string(out))
		})
	}
}

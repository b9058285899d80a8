package coordinator

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
)

func TestShellQuote(t *testing.T) {
	t.Parallel()
	args := []string{"", "plain-1.csv", "a b", "it's", `"q" $HOME`, "`id`", "a\nb", "*?[x]", "~", "é", "--x=y", "=ls", "a\\b", "!1", "#c"}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf '%s\\0' "+ShellQuote(args)).Output()
	require.NoError(t, err)
	assert.Equal(t, strings.Join(args, "\x00")+"\x00", string(out))
	assert.Equal(t, "plain-1.csv --out o.jsonl", ShellQuote([]string{"plain-1.csv", "--out", "o.jsonl"}))
}

func TestAgainHidesPasswords(t *testing.T) {
	t.Parallel()
	r := &fileRun{options: RunOptions{Command: []string{"coordinator", "run", "--resume", "--backend", "vllm://u:hunter2@h:1", "s.yaml"}}}
	assert.NotContains(t, r.again(), "hunter2")
	assert.Contains(t, r.again(), "coordinator run --resume s.yaml (with BATCHAGENT_BACKEND set")
	r.options.Command[4] = "vllm://h:1"
	assert.Equal(t, "coordinator run --resume --backend vllm://h:1 s.yaml", r.again())
	r.options.Command = nil
	r.options.Spec, r.options.Out = "a b.yaml", "o.jsonl"
	r.options.Getenv = func(string) string { return "sglang://h" }
	r.local.server = &modelServer{by: byVariable}
	assert.Equal(t, "coordinator run 'a b.yaml' --backend sglang://h --resume --out o.jsonl", r.again())
}

func TestResultsCommandNamesEveryFlag(t *testing.T) {
	t.Parallel()
	o := ResultsOptions{Follow: true, Out: "my file.csv"}
	assert.Equal(t, "coordinator results b_1 --follow --out 'my file.csv'", o.again("b_1"))
	o.Command = []string{"coordinator", "results", "b_1", "--follow", "--redis", "redis://:hunter2@h:1", "--out", "o"}
	assert.Equal(t, "coordinator results b_1 --follow --out o (with BATCHAGENT_REDIS set to the server's URL, which holds a password)", o.again("b_1"))
}

func TestRaiseNamesTheLimitsOfTheBatch(t *testing.T) {
	t.Parallel()
	for want, b := range map[string]batch.Budget{
		"coordinator budget b_1 --tokens N":         {Tokens: 5},
		"coordinator budget b_1 --usd X":            {USD: 5},
		"coordinator budget b_1 --tokens N --usd X": {Tokens: 5, USD: 5},
	} {
		assert.Equal(t, want, raise(batch.Info{Header: batch.Header{ID: "b_1", Budget: b}}))
	}
}

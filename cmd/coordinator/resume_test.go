package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"

	"github.com/batchagent/batchagent/internal/terminal"
	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/vllmsim"
)

// questionField matches the fields that the previous version did not write.
var questionField = regexp.MustCompile(`,"(question|request_model)":"[^"]*"|,"simulated":true`)

// desk is a directory with a spec, its inputs and a results file.
type desk struct {
	t             *testing.T
	dir, out      string
	spec, backend string
	task, more    string
}

func newDesk(t *testing.T) *desk {
	dir := t.TempDir()
	return &desk{
		t: t, dir: dir, out: filepath.Join(dir, "o.jsonl"), spec: filepath.Join(dir, "s.yaml"), task: "Sum up {text}",
		backend: simulator(t, vllmsim.Config{}),
	}
}

// run writes the inputs, one per word with underscores as spaces, and runs the batch.
func (d *desk) run(words string, flags ...string) outcome {
	d.t.Helper()
	var inputs strings.Builder
	for _, w := range strings.Fields(words) {
		fmt.Fprintf(&inputs, "{\"text\":%q}\n", strings.ReplaceAll(w, "_", " "))
	}
	require.NoError(d.t, os.WriteFile(filepath.Join(d.dir, "in.jsonl"), []byte(inputs.String()), 0o600))
	require.NoError(d.t, os.WriteFile(d.spec, []byte("task: \""+d.task+"\"\ninputs: in.jsonl\n"+d.more), 0o600))
	return coordinate(d.t, nil, "", append([]string{"run", d.spec, "--backend", d.backend, "--out", d.out}, flags...)...)
}

// paired checks that each result's answer is about the word at its index.
func (d *desk) paired(words string) {
	d.t.Helper()
	all := results(d.t, read(d.t, d.out))
	fields := strings.Fields(words)
	require.Len(d.t, all, len(fields))
	for _, r := range all {
		var said struct{ Text string }
		require.NoError(d.t, json.Unmarshal(r.Output, &said))
		assert.Contains(d.t, said.Text, fields[r.Index], r.JobID)
	}
}

func TestResume(t *testing.T) {
	for name, c := range map[string]struct {
		change func(d *desk)
		words  string
		says   string // "!" marks a refusal
	}{
		"unchanged":        {words: "alpha beta gamma delta", says: "resuming: 4 kept (0 moved), 0 changed, 0 new"},
		"reversed":         {words: "delta gamma beta alpha", says: "resuming: 4 kept (4 moved), 0 changed, 0 new"},
		"a row on top":     {words: "fresh alpha beta gamma delta", says: "resuming: 4 kept (4 moved), 0 changed, 1 new"},
		"a row edited":     {words: "alpha other gamma delta", says: "resuming: 3 kept (0 moved), 1 changed, 0 new"},
		"a row removed":    {words: "alpha gamma delta", says: "resuming: 3 kept (2 moved), 0 changed, 0 new; 1 result is dropped"},
		"a row twice":      {words: "alpha alpha beta gamma delta", says: "resuming: 4 kept (3 moved), 0 changed, 1 new"},
		"most rows edited": {words: "alpha one two three", says: "!3 of 4 results in"},
		"half edited":      {words: "alpha beta one two", says: "resuming: 2 kept (0 moved), 2 changed, 0 new"},
		"prompt edited":    {change: func(d *desk) { d.task = "Translate {text}" }, words: "alpha beta gamma delta", says: "!4 of 4 results in"},
		"schema added": {change: func(d *desk) {
			d.more = "output_schema: {type: object, required: [text], properties: {text: {type: string}}}\n"
		}, words: "alpha beta gamma delta", says: "!4 of 4 results in"},
		"sampling edited":   {change: func(d *desk) { d.more = "sampling: {temperature: 1}\n" }, words: "alpha beta gamma delta", says: "!4 of 4 results in"},
		"max_tokens raised": {change: func(d *desk) { d.more = "sampling: {max_tokens: 5000}\n" }, words: "alpha beta gamma delta", says: "resuming: 4 kept (0 moved)"},
		"max_tokens cut":    {change: func(d *desk) { d.more = "sampling: {max_tokens: 1}\n" }, words: "alpha beta gamma delta", says: "!4 of 4 results in"},
		"tools edited":      {change: func(d *desk) { d.more = "tools: [read_file]\n" }, words: "alpha beta gamma delta", says: "!4 of 4 results in"},
		"limits edited":     {change: func(d *desk) { d.more = "max_turns: 3\nttl: 1h\nname: other\n" }, words: "alpha beta gamma delta", says: "resuming: 4 kept (0 moved)"},
		"another model": {change: func(d *desk) { d.backend = simulator(d.t, vllmsim.Config{Model: "other"}) }, words: "alpha beta gamma delta",
			says: "!has 4 results of sim (simulated), and this run asks other (simulated)"},
	} {
		for _, out := range []string{"o.jsonl", "o.csv"} {
			t.Run(name+" "+out, func(t *testing.T) {
				d := newDesk(t)
				d.out = filepath.Join(d.dir, out)
				first := d.run("alpha beta gamma delta")
				require.Equal(t, terminal.ExitOK, first.status, first.err)
				before := read(t, d.out)
				if c.change != nil {
					c.change(d)
				}
				r := d.run(c.words, "--resume")
				if says, refused := strings.CutPrefix(c.says, "!"); refused {
					require.Equal(t, terminal.ExitUsage, r.status, r.err)
					assert.Contains(t, r.err, says)
					assert.Contains(t, r.err, "new --out")
					assert.Equal(t, before, read(t, d.out))
					return
				}
				require.Equal(t, terminal.ExitOK, r.status, r.err)
				assert.Contains(t, r.err, c.says)
				if out == "o.jsonl" {
					d.paired(c.words)
				}
				again := d.run(c.words, "--resume")
				assert.Contains(t, again.err, fmt.Sprintf("resuming: %d kept (0 moved), 0 changed, 0 new\n", len(strings.Fields(c.words))))
			})
		}
	}
}

func TestResumeWithForce(t *testing.T) {
	d := newDesk(t)
	require.Equal(t, terminal.ExitOK, d.run("alpha beta gamma").status)
	refused := d.run("one two gamma", "--force")
	assert.Equal(t, terminal.ExitUsage, refused.status)
	assert.Contains(t, refused.err, "--force goes with --resume")
	refused = d.run("one two gamma", "--resume")
	assert.Equal(t, terminal.ExitUsage, refused.status)
	assert.Contains(t, refused.err, "--reuse "+d.out)
	r := d.run("one two gamma", "--resume", "--force")
	require.Equal(t, terminal.ExitOK, r.status, r.err)
	assert.Contains(t, r.err, "resuming: 1 kept (0 moved), 2 changed, 0 new")
	d.paired("one two gamma")
}

// A failure belongs to its question, too: it does not apply to a new row with its index.
func TestResumeMovesFailures(t *testing.T) {
	d := newDesk(t)
	d.more = "on_bad_input: skip\nsampling: {max_tokens: 14}\n"
	long := strings.Repeat("many_words_follow_here_and_there_", 8)
	first := d.run("a " + long + " c")
	require.Equal(t, terminal.ExitJobsFailed, first.status, first.err)
	r := d.run("new a "+long+" c", "--resume")
	assert.Equal(t, terminal.ExitJobsFailed, r.status, r.err)
	assert.Contains(t, r.err, "resuming: 3 kept (3 moved), 0 changed, 1 new")
	for _, line := range results(t, read(t, d.out)) {
		assert.Equal(t, line.Index != 2, line.Status == batch.OK, line.JobID)
	}
	d.more = "on_bad_input: skip\nsampling: {max_tokens: 200}\n"
	r = d.run("new a "+long+" c", "--resume")
	require.Equal(t, terminal.ExitOK, r.status, r.err)
	assert.Contains(t, r.err, "resuming: 3 kept (0 moved), 0 changed, 0 new, 1 failed before and run again")
}

// Results of tools with side effects have no fingerprint. They are still kept, and no effect happens twice.
func TestResumeWithEffects(t *testing.T) {
	d := newDesk(t)
	log := filepath.Join(d.dir, "log")
	tools := written(t, "tools.yaml", "commands:\n  mail:\n    description: Sends a mail.\n    parameters: {type: object, properties: {to: {type: string}}, required: [to]}\n"+
		"    argv: [sh, -c, \"echo x >> "+log+"\"]\n    share: effect\n")
	d.more = "tools: [mail]\n"
	first := d.run("alpha beta", "--tools", tools)
	require.Equal(t, terminal.ExitOK, first.status, first.err)
	assert.NotContains(t, read(t, d.out), "fingerprint")
	sent := linesIn(read(t, log))
	r := d.run("beta alpha", "--tools", tools, "--resume")
	require.Equal(t, terminal.ExitOK, r.status, r.err)
	assert.Contains(t, r.err, "resuming: 2 kept (2 moved), 0 changed, 0 new")
	d.paired("beta alpha")
	assert.Equal(t, sent, linesIn(read(t, log)))

	older := questionField.ReplaceAllString(read(t, d.out), "")
	require.NoError(t, os.WriteFile(d.out, []byte(older), 0o600))
	r = d.run("beta alpha gamma", "--tools", tools, "--resume")
	assert.Equal(t, terminal.ExitUsage, r.status, r.err)
	assert.Contains(t, r.err, "would happen again")
}

// Files of the previous version have fingerprints on outputs only, not on failures.
func TestResumeFileOfPreviousVersion(t *testing.T) {
	d := newDesk(t)
	d.more = "sampling: {max_tokens: 14}\n"
	long := strings.Repeat("many_words_follow_here_and_there_", 8)
	require.Equal(t, terminal.ExitJobsFailed, d.run("a b "+long).status)
	older := questionField.ReplaceAllString(read(t, d.out), "")
	require.NotContains(t, older, "question")
	require.NoError(t, os.WriteFile(d.out, []byte(older), 0o600))
	r := d.run(long+" b a", "--resume")
	assert.Equal(t, terminal.ExitJobsFailed, r.status, r.err)
	assert.Contains(t, r.err, "resuming: 2 kept (1 moved), 0 changed, ")
	all := results(t, read(t, d.out))
	require.Len(t, all, 3)
	for _, line := range all {
		assert.Equal(t, line.Index != 0, line.Status == batch.OK, line.JobID)
	}
}

func TestResumeRefusesAnotherPlanner(t *testing.T) {
	server, out := simulator(t, vllmsim.Config{}), filepath.Join(t.TempDir(), "r.jsonl")
	run := func(text string, flags ...string) outcome {
		return coordinate(t, nil, "", append([]string{"run", written(t, "s.yaml", text), "--backend", server, "--out", out}, flags...)...)
	}
	require.Equal(t, terminal.ExitOK, run(plannedSpec).status)
	other := strings.Replace(plannedSpec, "max_items: 5", "max_items: 4", 1)
	r := run(other, "--resume")
	assert.Equal(t, terminal.ExitUsage, r.status, r.err)
	assert.Contains(t, r.err, "was made by another planner")
	r = run(other, "--resume", "--force")
	assert.Equal(t, terminal.ExitOK, r.status, r.err)
	assert.Contains(t, r.err, "resuming: 3 kept (0 moved), 0 changed, 0 new")
}

// The printed command has every flag, quoted for a shell.
func TestInterruptedRunPrintsWholeCommand(t *testing.T) {
	d := newDesk(t)
	d.out, d.more = filepath.Join(d.dir, "it's my file.jsonl"), "max_inflight: 1\n"
	d.backend = simulator(t, vllmsim.Config{ForwardMS: 20})
	ctx, interrupt := context.WithCancel(t.Context())
	words := strings.Repeat("word ", 200)
	go func() {
		for ctx.Err() == nil {
			if text, err := os.ReadFile(d.out); err == nil && linesIn(string(text)) > 2 {
				interrupt()
			}
			<-time.After(5 * time.Millisecond)
		}
	}()
	d.run("x")
	require.NoError(t, os.Remove(d.out))
	var inputs strings.Builder
	for i, w := range strings.Fields(words) {
		fmt.Fprintf(&inputs, "{\"text\":\"%s%d\"}\n", w, i)
	}
	require.NoError(t, os.WriteFile(filepath.Join(d.dir, "in.jsonl"), []byte(inputs.String()), 0o600))
	t.Setenv("BATCHAGENT_OWNER", "ana b")
	r := coordinateIn(t, ctx, nil, "", "run", d.spec, "--backend", d.backend, "--out", d.out, "--tools-root", d.dir, "--max-inflight", "3", "--workers=1")
	assert.Equal(t, terminal.ExitInterrupted, r.status)
	want := fmt.Sprintf(" run --resume --backend %s --workers 1 --max-inflight 3 --out '%s' --owner 'ana b' --tools-root %s %s\n",
		d.backend, strings.ReplaceAll(d.out, "'", `'\''`), d.dir, d.spec)
	assert.Contains(t, r.err, want)
}

func TestInterruptedFollowPrintsWholeCommand(t *testing.T) {
	redis, _ := testredis.Mini(t)
	dir := t.TempDir()
	for name, args := range map[string][]string{
		"results": {"results", strings.TrimSpace(coordinate(t, nil, "", "submit", specOf(t, 1, ""), "--redis", redis).out), "--follow", "--ordered"},
		"submit":  {"submit", specOf(t, 2, ""), "--follow"},
	} {
		out := filepath.Join(dir, "my "+name+".csv")
		ctx, interrupt := context.WithCancel(t.Context())
		go func() {
			for ctx.Err() == nil {
				if _, err := os.Stat(out + ".jsonl"); err == nil {
					interrupt()
				}
				<-time.After(5 * time.Millisecond)
			}
		}()
		r := coordinateIn(t, ctx, nil, "", append(args, "--out", out, "--redis", redis)...)
		assert.Equal(t, terminal.ExitInterrupted, r.status, r.err)
		assert.Regexp(t, "results b_[0-9a-z]+ --follow --redis "+regexp.QuoteMeta(redis)+" --out '"+regexp.QuoteMeta(out)+"'", r.err)
		assert.Equal(t, name == "results", strings.Contains(r.err, "--ordered"), r.err)
	}
}

func TestOutDashIsStandardOutput(t *testing.T) {
	t.Chdir(t.TempDir())
	d := newDesk(t)
	d.out = "-"
	r := d.run("alpha beta")
	require.Equal(t, terminal.ExitOK, r.status, r.err)
	assert.Len(t, results(t, r.out), 2)
	assert.NoFileExists(t, "-")
	r = d.run("alpha", "--resume")
	assert.Equal(t, terminal.ExitUsage, r.status)
}

// A variable left over from another command must not delete, replace or redirect data.
func TestDestructiveFlagsHaveNoVariable(t *testing.T) {
	withoutVariable := []string{"out", "echo", "resume", "force", "consume", "reuse", "without-token", "insecure-keys", "results", "outcome", "result", "call", "tokens", "usd",
		"limit", "sample", "seed", "rerun", "from", "failed", "where", "spec", "estimate"}
	withVariable := []string{
		"redis", "server", "token-file", "owner", "tools-root", "tools", "format", "json", "workers", "max-inflight", "log-level", "log-format",
		"durable", "follow", "watch", "ordered", "listen", "max-body-mb", "fail-fast", "wait-for-server",
	}
	for _, c := range commands(streams{}, terminal.NewConsole(nil, nil)) {
		for _, f := range c.Flags {
			name := f.Names()[0]
			vars := f.(cli.DocGenerationFlag).GetEnvVars()
			if name == "backend" { // run prefers the spec's backend to the variable
				continue
			}
			switch {
			case slices.Contains(withoutVariable, name):
				assert.Empty(t, vars, "%s --%s", c.Name, name)
			case slices.Contains(withVariable, name):
				assert.NotEmpty(t, vars, "%s --%s", c.Name, name)
			default:
				t.Errorf("%s --%s: decide whether a variable may set it, and add it to a list here", c.Name, name)
			}
		}
	}
}

package spec

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const twoRows = "{\"n\":1,\"rest\":\"a\"}\n{\"n\":2,\"rest\":\"b\"}\n"

func agentSpec(fields string) string {
	return "inputs: in.jsonl\n" + fields
}

func TestAgentSpec(t *testing.T) {
	t.Parallel()
	p, err := compile(t, agentSpec("task: \"count {n}\"\nagent: {program: counter, args: {steps: 3, deep: {a: [1]}}, output: out/a.json}\n"+
		"workspace: {from: repo, at: v1, collect: [\"src/*.go\"], diff: true}\n"), map[string]string{"in.jsonl": twoRows}, LoadOptions{})
	require.NoError(t, err)
	a := p.Jobs.Agent
	require.NotNil(t, a)
	assert.Equal(t, "counter", a.Program)
	assert.JSONEq(t, "3", string(a.Args["steps"]))
	assert.Equal(t, "out/a.json", a.Output)
	assert.Equal(t, &Workspace{From: "repo", At: "v1", Collect: []string{"src/*.go"}, Diff: true}, a.Workspace)
	assert.Equal(t, programTurns, p.Jobs.MaxTurns)
	assert.Equal(t, []string{"program:counter"}, p.Jobs.Needs())
	for line, err := range p.Payloads(t.Context()) {
		require.NoError(t, err)
		var job Payload
		require.NoError(t, json.Unmarshal(line, &job))
		asked, bad := p.Jobs.Asked(&job)
		require.Empty(t, bad)
		assert.Contains(t, string(asked.Input), `"rest"`, "the program gets the whole input")
	}

	text, err := json.Marshal(p.Jobs)
	require.NoError(t, err)
	var earlier struct{ Tools []string }
	require.NoError(t, json.Unmarshal(text, &earlier))
	assert.Equal(t, []string{newerWorkers[1]}, earlier.Tools, "workers of earlier versions refuse the batch")
	read, err := ParseCompiled(text)
	require.NoError(t, err)
	assert.Empty(t, read.Tools)
	assert.Equal(t, a, read.Agent)
}

// A carried path is a field of the result, and none of the program's input.
func TestCarryOfAProgramLeavesItsInputAlone(t *testing.T) {
	t.Parallel()
	p, err := compile(t, agentSpec("id: \"{n}\"\ncarry: [deep.a, n]\nagent: {program: counter}\n"), map[string]string{"in.jsonl": `{"n":1,"deep":{"a":"x"}}` + "\n"}, LoadOptions{})
	require.NoError(t, err)
	for line, err := range p.Payloads(t.Context()) {
		require.NoError(t, err)
		var job Payload
		require.NoError(t, json.Unmarshal(line, &job))
		asked, bad := p.Jobs.Asked(&job)
		require.Empty(t, bad)
		assert.JSONEq(t, `{"n":1,"deep":{"a":"x"}}`, string(asked.Input))
		id, carried, err := p.Jobs.Row(&job)
		require.NoError(t, err)
		assert.Equal(t, "1", id)
		assert.JSONEq(t, `{"deep.a":"x","n":1}`, string(carried))
	}
}

func TestTaskOfAProgramIsOptional(t *testing.T) {
	t.Parallel()
	p, err := compile(t, agentSpec("agent: {command: [python3, agent.py]}\nmax_turns: 5\n"), map[string]string{"in.jsonl": twoRows}, LoadOptions{})
	require.NoError(t, err)
	assert.Equal(t, 5, p.Jobs.MaxTurns)
	assert.True(t, p.Jobs.Agent.Own())
	prompt, err := p.Jobs.Prompt(nil)
	require.NoError(t, err)
	assert.Empty(t, prompt)
}

func TestMistakesInAgents(t *testing.T) {
	t.Parallel()
	for fields, want := range map[string]string{
		"agent: {}":                                                "must have program",
		"agent: {program: a, command: [b]}":                        "only one of them",
		"agent: {program: \"a b\"}":                                "name of a program",
		"agent: {command: python}":                                 "must be a list",
		"agent: {command: []}":                                     "must be a list with a program",
		"agent: {command: [\"\"]}":                                 "must name a program",
		"agent: {socket: /s, output: a}":                           "output is a file of a process",
		"agent: {program: a, output: ../a}":                        "inside the working folder",
		"agent: {program: a, output: /etc/passwd}":                 "inside the working folder",
		"agent: {program: a, args: [1]}":                           "must be a mapping",
		"agent: {programme: a}":                                    "programme",
		"workspace: {from: a}\ntask: \"{n}\"":                      "name the program in agent",
		"agent: {program: a}\nworkspace: {run: [[b]]}":             "run needs agent.command",
		"agent: {program: a}\nworkspace: {from: ../x}":             "inside the working folder",
		"agent: {program: a}\nworkspace: {at: v1}":                 "commit of the bundle",
		"agent: {program: a}\nworkspace: {at: --x, from: a}":       "must be a commit",
		"agent: {program: a}\nworkspace: {collect: [\"[\"]}":       "is no pattern",
		"agent: {socket: /s}\nworkspace: {from: a}":                "needs a process of its own",
		"agent: {program: a}\npreload: [{tool: t}]\ntask: \"{n}\"": "a program makes its own calls",
	} {
		_, err := load(t, agentSpec(fields+"\n"), map[string]string{"in.jsonl": twoRows}, LoadOptions{})
		require.ErrorContains(t, err, want, fields)
	}
}

// Two programs, or one with other arguments, answer another question.
func TestAgentsAreAPartOfTheQuestion(t *testing.T) {
	t.Parallel()
	seen := map[Question]string{}
	for _, agent := range []string{"", "agent: {program: a}\n", "agent: {program: b}\n", "agent: {program: a, args: {x: 1}}\n", "agent: {program: a, output: f}\n",
		"agent: {program: a}\nworkspace: {from: f}\n", "agent: {program: a}\nworkspace: {from: f, at: v1}\n"} {
		p, err := compile(t, agentSpec("task: \"{n}\"\n"+agent), map[string]string{"in.jsonl": twoRows}, LoadOptions{})
		require.NoError(t, err)
		q, err := p.Jobs.Question("m", nil)
		require.NoError(t, err)
		earlier, found := seen[q]
		assert.False(t, found, "%q and %q", earlier, agent)
		seen[q] = agent
	}
}

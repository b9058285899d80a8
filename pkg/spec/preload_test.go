package spec

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const twoDocuments = `{"path":"a.md","n":3,"question":"Why?"}
{"path":"b.md","n":4,"question":"How?"}
`

// asked returns what the first jobs ask, after a round trip through the form in Redis.
func asked(t *testing.T, p *Prepared) []Asked {
	t.Helper()
	text, err := json.Marshal(p.Jobs)
	require.NoError(t, err)
	compiled, err := ParseCompiled(text)
	require.NoError(t, err)
	var out []Asked
	for _, data := range payloads(t, p) {
		var payload Payload
		require.NoError(t, json.Unmarshal([]byte(data), &payload))
		a, bad := compiled.Asked(&payload)
		require.Empty(t, bad)
		out = append(out, a)
	}
	return out
}

func preloadSpec(preload string) string {
	return "inputs: in.jsonl\ntask: \"{question}\"\npreload:\n" + preload
}

func TestPreloadArguments(t *testing.T) {
	for name, c := range map[string]struct{ preload, first, second string }{
		"text":             {`- {tool: read_file, args: {path: "docs/{path}"}}`, `{"path":"docs/a.md"}`, `{"path":"docs/b.md"}`},
		"a number":         {`- {tool: t, args: {n: "{n}", of: 7}}`, `{"n":3,"of":7}`, `{"n":4,"of":7}`},
		"no arguments":     {`- {tool: t}`, `{}`, `{}`},
		"nested":           {`- {tool: t, args: {a: [{b: "{n}"}, true, null]}}`, `{"a":[{"b":3},true,null]}`, `{"a":[{"b":4},true,null]}`},
		"escaped":          {`- {tool: t, args: {pattern: "{{word}} <x> {2,3}"}}`, `{"pattern":"{word} <x> {2,3}"}`, `{"pattern":"{word} <x> {2,3}"}`},
		"number into text": {`- {tool: t, args: {q: "n={n}"}}`, `{"q":"n=3"}`, `{"q":"n=4"}`},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := compile(t, preloadSpec(c.preload), map[string]string{"in.jsonl": twoDocuments}, LoadOptions{})
			require.NoError(t, err)
			got := asked(t, p)
			assert.Equal(t, c.first, string(got[0].Calls[0].Args))
			assert.Equal(t, c.second, string(got[1].Calls[0].Args))
			assert.Equal(t, "Why?", got[0].Prompt)
		})
	}
}

func TestPreloadKeepsTypesOfConstants(t *testing.T) {
	inputs := `{"o":{"k":["{x}",1]},"n":5,"s":"{x}","x":1}` + "\n" + `{"o":{"k":["{x}",1]},"n":5,"s":"{x}","x":2}` + "\n"
	p, err := compile(t, "inputs: in.jsonl\ntask: \"{x}\"\npreload:\n- {tool: t, args: {o: \"{o}\", n: \"{n}\", s: \"{s}\"}}\n", map[string]string{"in.jsonl": inputs}, LoadOptions{})
	require.NoError(t, err)
	for _, a := range asked(t, p) {
		assert.JSONEq(t, `{"o":{"k":["{x}",1]},"n":5,"s":"{x}"}`, string(a.Calls[0].Args))
	}
	assert.False(t, p.Jobs.Preload[0].Varies())
	assert.Equal(t, []string{`{"in":{"x":1}}`, `{"in":{"x":2}}`}, payloads(t, p), "payloads hold no constants")
}

func TestPreloadMistakes(t *testing.T) {
	for name, c := range map[string]struct{ preload, want string }{
		"unknown field":   {`- {tool: t, args: {p: "{pth}"}}`, "preload[0].args.p: no input has a field \"pth\"; the nearest name is \"path\""},
		"unquoted braces": {`- {tool: t, args: {p: {path}}}`, "preload[0].args.p: must be a value, not a mapping"},
		"no tool":         {`- {args: {p: x}}`, "preload[0].tool: must be the name of a tool"},
		"arguments":       {`- {tool: t, args: x}`, "preload[0].args: must be a mapping of argument names to values"},
		"foreign":         {`- {tool: t, args: {p: "{{path}}"}}`, "looks like a placeholder of another template language"},
		"effects":         {"- {tool: t}\ntools: [{name: t, share: effect}]", "preload[0]: the tool t has side effects"},
		"too many":        {strings.Repeat("- {tool: t}\n", 9), "preload: must have at most 8 calls"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := load(t, preloadSpec(c.preload), map[string]string{"in.jsonl": twoDocuments}, LoadOptions{})
			if err == nil {
				_, err = s.Prepare(t.Context())
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestPreloadOfAPlansItems(t *testing.T) {
	p := planned(t, "task: \"{item}\"\nplan: {task: a}\npreload: [{tool: t, args: {p: \"{item}\"}}]\n")
	text, err := json.Marshal(p.Jobs)
	require.NoError(t, err)
	compiled, err := ParseCompiled(text)
	require.NoError(t, err)
	a, err := compiled.Ask(map[string]any{"item": "x"})
	require.NoError(t, err)
	assert.Equal(t, `{"p":"x"}`, string(a.Calls[0].Args))
}

func TestInputWithoutAPreloadedFieldIsBad(t *testing.T) {
	inputs := `{"path":"a","question":"?"}` + "\n" + `{"question":"!"}` + "\n"
	_, err := compile(t, preloadSpec(`- {tool: t, args: {p: "{path}"}}`), map[string]string{"in.jsonl": inputs}, LoadOptions{})
	require.ErrorContains(t, err, "the input has no value for {path}")
}

// Workers of an earlier version would leave the calls out. They refuse a batch with a tool that they do not have.
func TestEarlierWorkersRefusePreloads(t *testing.T) {
	p, err := compile(t, preloadSpec(`- {tool: t}`), map[string]string{"in.jsonl": twoDocuments}, LoadOptions{})
	require.NoError(t, err)
	text, err := json.Marshal(p.Jobs)
	require.NoError(t, err)
	var earlier struct{ Tools []string }
	require.NoError(t, json.Unmarshal(text, &earlier))
	assert.Equal(t, []string{newerWorkers[0]}, earlier.Tools)
	compiled, err := ParseCompiled(text)
	require.NoError(t, err)
	assert.Empty(t, compiled.Tools)
	assert.Equal(t, []string{"t"}, compiled.Needs())
}

func TestOpeningsOfEqualPreloadsBeginAlike(t *testing.T) {
	var inputs strings.Builder
	for i := range 4 {
		fmt.Fprintf(&inputs, `{"path":"d%d.md","question":"q%d","n":%d}`+"\n", i/2, i, i)
	}
	p, err := compile(t, preloadSpec("- {tool: t, args: {same: 1}}\n"+`- {tool: t, args: {p: "{path}"}}`), map[string]string{"in.jsonl": inputs.String()}, LoadOptions{})
	require.NoError(t, err)
	o := p.Openings()
	require.Len(t, o, 4)
	for _, opening := range o {
		assert.Len(t, opening, AssumedResult+len("q0"), "calls that are the same for all jobs are left out")
	}
	assert.Equal(t, o[0][:AssumedResult], o[1][:AssumedResult])
	assert.NotEqual(t, o[0][:128], o[2][:128], "another document differs in its first block")
}

func TestPreloadChangesOnlySpecsThatHaveIt(t *testing.T) {
	p, err := compile(t, "inputs: in.jsonl\ntask: \"{question}\"\ntools: [read_file]\n", map[string]string{"in.jsonl": twoDocuments}, LoadOptions{})
	require.NoError(t, err)
	text, err := json.Marshal(p.Jobs)
	require.NoError(t, err)
	assert.NotContains(t, string(text), "preload")
	assert.Contains(t, string(text), `"tools":["read_file"]`)
}

func TestOutlineCountsEqualResultsAlike(t *testing.T) {
	c := &Compiled{Task: "{q}", Preload: []Preload{{Tool: "t", Args: json.RawMessage(`{"p":"{p}"}`)}, {Tool: "t", Args: json.RawMessage(`{}`)}}}
	outline := func(p, q string) string {
		text, err := c.Outline(map[string]any{"p": p, "q": q}, 1600)
		require.NoError(t, err)
		return text
	}
	one, same, other := outline("a", "1"), outline("a", "2"), outline("b", "1")
	assert.Len(t, one, 1600+1, "the call that is the same for every job belongs to the prefix")
	assert.Equal(t, one[:1600], same[:1600])
	assert.NotEqual(t, one[:64], other[:64])
}

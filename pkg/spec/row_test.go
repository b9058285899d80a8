package spec

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rowsOf prepares a spec over a file of inputs, and returns the ID and the carried fields of each job.
func rowsOf(t *testing.T, yaml, name, inputs string) (compiled *Compiled, out []string, err error) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(inputs), 0o600))
	path := filepath.Join(dir, "s.yaml")
	require.NoError(t, os.WriteFile(path, []byte("inputs: "+name+"\n"+yaml), 0o600))
	s, err := Load(path, LoadOptions{})
	if err != nil {
		return nil, nil, err
	}
	p, err := s.Prepare(t.Context())
	if err != nil {
		return nil, nil, err
	}
	for text, err := range p.Payloads(t.Context()) {
		require.NoError(t, err)
		var job Payload
		require.NoError(t, json.Unmarshal(text, &job))
		id, input, err := p.Jobs.Row(&job)
		require.NoError(t, err)
		out = append(out, strings.TrimSpace(id+" "+string(input)))
	}
	return p.Jobs, out, nil
}

func TestRow(t *testing.T) {
	t.Parallel()
	const csv = "region,ticket,The Text,place\nEU,1,a<b,x\nUS,2,\"c\nd\",x\n"
	const lines = `{"z":1.50,"ticket":"A","text":"t","n":{"b":[1, 2],"a":null}}` + "\n" + `{"ticket":"B","text":"u","extra":true}` + "\n"
	for name, c := range map[string]struct {
		yaml, file, inputs string
		want               []string
	}{
		"an ID":                       {"task: '{text}'\nid: '{ticket}'", "i.jsonl", lines, []string{"A", "B"}},
		"an ID of several fields":     {"task: '{The Text}'\nid: '{region}-{ticket}'", "i.csv", csv, []string{"EU-1", "US-2"}},
		"an ID of a path":             {"task: '{text}'\nid: '{n.b[1]}{ticket}'\non_bad_input: skip", "i.jsonl", lines, []string{"2A", ""}},
		"a list of fields":            {"task: '{text}'\ncarry: [text, ticket, z]", "i.jsonl", lines, []string{`{"text":"t","ticket":"A","z":1.50}`, `{"text":"u","ticket":"B"}`}},
		"all fields in their order":   {"task: '{text}'\ncarry: all", "i.jsonl", lines, []string{`{"z":1.50,"ticket":"A","text":"t","n":{"b":[1,2],"a":null}}`, `{"ticket":"B","text":"u","extra":true}`}},
		"columns in their order":      {"task: '{The Text}'\ncarry: all", "i.csv", csv, []string{`{"region":"EU","ticket":"1","The Text":"a<b","place":"x"}`, `{"region":"US","ticket":"2","The Text":"c\nd","place":"x"}`}},
		"a constant field":            {"task: '{place} {The Text}'\ncarry: [place]", "i.csv", csv, []string{`{"place":"x"}`, `{"place":"x"}`}},
		"a path":                      {"task: '{text}'\ncarry: [n.b]", "i.jsonl", lines, []string{`{"n.b":[1,2]}`, ""}},
		"bad inputs":                  {"task: '{extra}'\nid: '{ticket}'\ncarry: [text]\non_bad_input: skip", "i.jsonl", lines, []string{`A {"text":"t"}`, `B {"text":"u"}`}},
		"the alias of another field":  {"task: '{The Text}'\ncarry: [The_Text, ticket]", "i.jsonl", `{"The Text":"a","ticket":1}` + "\n" + `{"The Text":"b","The_Text":"c","ticket":2}`, []string{`{"ticket":1}`, `{"The_Text":"c","ticket":2}`}},
		"neither":                     {"task: '{text}'", "i.jsonl", lines, []string{"", ""}},
		"values as in the input file": {"task: '{t}'\ncarry: all", "i.jsonl", `{"t":"é😀","big":12345678901234567890,"e":1e400}` + "\n", []string{`{"t":"é😀","big":12345678901234567890,"e":1e400}`}},
	} {
		_, got, err := rowsOf(t, c.yaml, c.file, c.inputs)
		if assert.NoError(t, err, name) {
			assert.Equal(t, c.want, got, name)
		}
	}
}

// assertMistake asserts that an error contains a text, apart from the folder of the files.
func assertMistake(t *testing.T, err error, want string) {
	t.Helper()
	require.Error(t, err)
	assert.Contains(t, regexp.MustCompile(`/\S*/`).ReplaceAllString(err.Error(), ""), want)
}

func TestRowErrors(t *testing.T) {
	t.Parallel()
	const lines = `{"ticket":"A","text":"t","l":[1]}` + "\n" + `{"ticket":"B","text":"u"}` + "\n" + `{"ticket":"A","text":"v"}` + "\n"
	for _, c := range map[string]struct{ yaml, want string }{
		"equal IDs":         {"id: '{ticket}'", `i.jsonl:1 and i.jsonl:3 have the same ID "A"`},
		"equal IDs skipped": {"id: '{ticket}'\non_bad_input: skip", `i.jsonl:1 and i.jsonl:3 have the same ID "A"`},
		"no braces":         {"id: ticket", `write "{ticket}"`},
		"constant":          {"id: 'x-1'", "in braces"},
		"unknown in ID":     {"id: '{tiket}'", `no input has a field "tiket"; the nearest name is "ticket"`},
		"unknown in carry":  {"carry: [texd]", `no input has a field "texd"; the nearest name is "text"`},
		"carry a name":      {"carry: text", "write [text]"},
		"carry twice":       {"carry: [text, text]", "a second time"},
		"carry nothing":     {"carry: []", "carries no field"},
		"a list as ID":      {"id: '{l}'", "a list or an object"},
		"a missing value":   {"id: '{l}{ticket}'", "{l} is a list or an object"},
	} {
		_, _, err := rowsOf(t, "task: '{text}'\n"+c.yaml, "i.jsonl", lines)
		assertMistake(t, err, c.want)
	}
	_, _, err := rowsOf(t, "task: '{text}'\nid: '{text}'", "i.jsonl", `{"text":""}`)
	assert.ErrorContains(t, err, "its ID {text} is empty")
	_, err = Parse("s.yaml", []byte("task: '{item}'\nplan: {task: p}\nid: '{x}'\ncarry: all"), LoadOptions{})
	assert.ErrorContains(t, err, "id: needs inputs with fields of their own")
	assert.ErrorContains(t, err, "carry: needs inputs with fields of their own")
}

func TestRowErrorCountsEqualIDs(t *testing.T) {
	t.Parallel()
	var lines strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&lines, `{"ticket":%d,"text":"t%d"}`+"\n", i%500, i)
	}
	_, _, err := rowsOf(t, "task: '{text}'\nid: 'T-{ticket}'", "i.jsonl", lines.String())
	assertMistake(t, err, `i.jsonl:1 and i.jsonl:501 have the same ID "T-0"; `)
	assertMistake(t, err, "so have 1497 more inputs")
}

func TestCarryAllLimitsNames(t *testing.T) {
	t.Parallel()
	var lines strings.Builder
	for i := range maxKnown + 1 {
		fmt.Fprintf(&lines, `{"f%d":1,"text":"t"}`+"\n", i)
	}
	_, _, err := rowsOf(t, "task: '{text}'\ncarry: all", "i.jsonl", lines.String())
	assert.ErrorContains(t, err, "more than 1000 names")
}

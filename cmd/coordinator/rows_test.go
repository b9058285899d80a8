package main

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/terminal"
	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/vllmsim"
)

// rowsSpec has an ID and carries all columns of tickets.csv beside it.
const rowsSpec = "task: 'Answer {text}'\ninputs: tickets.csv\nid: '{ticket}'\ncarry: all\n"

// rowsDesk writes a spec and its tickets, and returns the path of the spec.
func rowsDesk(t *testing.T, tickets string) string {
	t.Helper()
	spec := written(t, "s.yaml", rowsSpec)
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(spec), "tickets.csv"), []byte(tickets), 0o600))
	return spec
}

func labelsOf(all []batch.Result) map[string]string {
	out := map[string]string{}
	for _, r := range all {
		out[r.ID] = string(r.Input)
	}
	return out
}

// Rows with equal prompts trade places, and a column that no prompt uses is edited: no job runs again, and every result has its row.
func TestResumeKeepsResultsWithTheirRows(t *testing.T) {
	server := simulator(t, vllmsim.Config{})
	for _, name := range []string{"r.jsonl", "r.csv", "r.jsonl.gz"} {
		spec := rowsDesk(t, "ticket,region,text\nA,EU,same\nB,US,same\nC,EU,other\n")
		out := filepath.Join(t.TempDir(), name)
		first := coordinate(t, nil, "", "run", spec, "--backend", server, "--out", out)
		require.Equal(t, terminal.ExitOK, first.status, first.err)
		require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(spec), "tickets.csv"), []byte("ticket,region,text\nC,ASIA,other\nB,US,same\nA,EU,same\n"), 0o600))
		again := coordinate(t, nil, "", "run", spec, "--backend", server, "--out", out, "--resume")
		require.Equal(t, terminal.ExitOK, again.status, again.err)
		assert.Contains(t, again.err, "3 kept", name)
		switch name {
		case "r.jsonl":
			assert.Equal(t, map[string]string{
				"A": `{"ticket":"A","region":"EU","text":"same"}`, "B": `{"ticket":"B","region":"US","text":"same"}`, "C": `{"ticket":"C","region":"ASIA","text":"other"}`,
			}, labelsOf(results(t, read(t, out))))
		case "r.csv":
			table, err := csv.NewReader(strings.NewReader(read(t, out))).ReadAll()
			require.NoError(t, err)
			require.Len(t, table, 4)
			assert.Equal(t, []string{"C", "C", "ASIA", "other"}, table[1][:4])
			assert.Equal(t, []string{"A", "A", "EU", "same"}, table[3][:4])
		}
	}
}

func TestRowsSurviveCancelReuseAndChains(t *testing.T) {
	server := simulator(t, vllmsim.Config{})
	spec := rowsDesk(t, "ticket,region,text\nA,EU,one\nB,US,two\n")
	redis, _ := testredis.Mini(t)
	id := strings.TrimSpace(coordinate(t, nil, "", "submit", spec, "--redis", redis).out)
	require.Equal(t, terminal.ExitOK, coordinate(t, nil, "", "cancel", id, "--redis", redis).status)
	cancelled := results(t, coordinate(t, nil, "", "results", id, "--redis", redis).out)
	want := map[string]string{"A": `{"ticket":"A","region":"EU","text":"one"}`, "B": `{"ticket":"B","region":"US","text":"two"}`}
	assert.Equal(t, want, labelsOf(cancelled))

	out := filepath.Join(t.TempDir(), "r.csv")
	require.Equal(t, terminal.ExitOK, coordinate(t, nil, "", "run", spec, "--backend", server, "--out", out).status)
	reused := coordinate(t, nil, "", "run", spec, "--backend", server, "--reuse", out)
	require.Equal(t, terminal.ExitOK, reused.status, reused.err)
	for _, r := range results(t, reused.out) {
		assert.NotEmpty(t, r.ReusedFrom)
		assert.Equal(t, want[r.ID], string(r.Input))
	}
	chain := written(t, "chain.yaml", "task: '{region} {text} {id} {input.ticket}'\nid: '{id}'\ncarry: [region]\ninputs: {results: '"+out+"'}\n")
	chained := coordinate(t, nil, "", "run", chain, "--backend", server)
	require.Equal(t, terminal.ExitOK, chained.status, chained.err)
	assert.Equal(t, map[string]string{"A": `{"region":"EU"}`, "B": `{"region":"US"}`}, labelsOf(results(t, chained.out)))
}

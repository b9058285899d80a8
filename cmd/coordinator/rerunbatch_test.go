package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/server"
	"github.com/batchagent/batchagent/internal/terminal"
	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/vllmsim"
)

// Rows of an earlier batch run again in a new one: over Redis, from a results file, over a server, and over plain HTTP.
func TestSubmitRerun(t *testing.T) {
	redis, _ := testredis.Mini(t)
	node(t, redis, simulator(t, vllmsim.Config{}))
	url := serving(t, redis, "")
	x := newTrial(t)
	x.write(t, "first", "id: \"{key}\"\ncarry: [key]\nbudget: {batch: {tokens: 100000}}\n", "a", "b", "c", "d")
	first := coordinate(t, nil, "", "submit", x.spec, "--redis", redis, "--follow", "--out", x.out)
	require.Equal(t, terminal.ExitOK, first.status, first.err)
	id := strings.Fields(first.out)[0]
	earlierResults := filepath.Join(t.TempDir(), "earlier.jsonl")
	text, err := os.ReadFile(x.out)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(earlierResults, text, 0o600))

	// The rows moved, b is gone and e is new.
	x.write(t, "second", "id: \"{key}\"\ncarry: [key]\n", "d", "a", "c", "e")
	want := map[int64]string{0: "second d", 1: "first a", 2: "first c", 3: "second e"}
	for name, args := range map[string][]string{
		"batch":  {"--redis", redis, "--from", id},
		"file":   {"--redis", redis, "--from", earlierResults},
		"server": {"--server", url, "--from", id},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.Remove(x.out))
			r := coordinate(t, nil, "", append([]string{"submit", x.spec, "--rerun", `id == "d"`, "--follow", "--out", x.out}, args...)...)
			require.Equal(t, terminal.ExitOK, r.status, r.err)
			assert.Contains(t, r.err, "rerunning: 2 results are kept, 1 row runs again, 1 row without a result; 1 result is dropped")
			assert.Equal(t, want, x.asked(t))
			kept, again := x.results(t)[1], x.results(t)[0]
			assert.Equal(t, "a", kept.ID)
			assert.JSONEq(t, `{"key":"a"}`, string(kept.Input))
			assert.Equal(t, id+"/job-0", kept.ReusedFrom)
			assert.Zero(t, kept.Usage, "the batch did not use the tokens of a result that it keeps")
			assert.NotEqual(t, again.PromptVersion, kept.PromptVersion)
			assert.Empty(t, again.ReusedFrom)
		})
	}
	t.Run("http", func(t *testing.T) {
		body := `{"spec":{"name":"again","task":"second {text}","id":"{key}","output_schema":{"type":"object","properties":{"s":{"type":"string"}},"required":["s"]}},
			"inputs":[{"key":"d","text":"ticket d"},{"key":"a","text":"ticket a"}],"rerun":{"batch":"` + id + `","where":"id == \"d\""}}`
		resp, err := http.Post(url+"/api/v1/batches", "application/json", strings.NewReader(body))
		require.NoError(t, err)
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, http.StatusCreated, resp.StatusCode, string(answer))
		var sent server.Submitted
		require.NoError(t, json.NewDecoder(bytes.NewReader(answer)).Decode(&sent))
		assert.Contains(t, sent.Notices[len(sent.Notices)-1].Text, "rerunning: 1 result is kept, 1 row runs again")
		require.NoError(t, os.Remove(x.out))
		r := coordinate(t, nil, "", "results", string(sent.ID), "--redis", redis, "--follow", "--out", x.out)
		require.Equal(t, terminal.ExitOK, r.status, r.err)
		assert.Equal(t, map[int64]string{0: "second d", 1: "first a"}, x.asked(t))
	})
	for name, to := range map[string][]string{"chosen rows": {"--redis", redis}, "chosen rows over a server": {"--server", url}} {
		t.Run(name, func(t *testing.T) {
			for _, choice := range [][]string{{"--limit", "1"}, {"--sample", "4"}} {
				require.NoError(t, os.Remove(x.out))
				r := coordinate(t, nil, "", append(append([]string{"submit", x.spec, "--rerun", "all", "--from", id, "--follow", "--out", x.out}, choice...), to...)...)
				require.Equal(t, terminal.ExitOK, r.status, r.err)
				want := map[int64]string{0: "second d", 1: "first a", 2: "first c"}
				if choice[0] == "--sample" {
					want = map[int64]string{0: "second d", 1: "second a", 2: "second c", 3: "second e"}
				}
				assert.Equal(t, want, x.asked(t), "rows that were not chosen keep their results")
			}
		})
	}
}

func TestSubmitRerunRefusals(t *testing.T) {
	redis, _ := testredis.Mini(t)
	url := serving(t, redis, "")
	spec := specOf(t, 3, "")
	gone := "b_01k0000000000000000000000a"
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"no batch":                       {[]string{"--rerun", "failed"}, "--rerun needs --from"},
		"no condition":                   {[]string{"--from", gone}, "--from goes with --rerun"},
		"a file over a server":           {[]string{"--rerun", "failed", "--from", "r.jsonl", "--server", url}, "use --redis instead of --server"},
		"a limit over a server":          {[]string{"--rerun", "failed", "--from", gone, "--limit", "1", "--server", url}, "no such batch"},
		"an unknown batch":               {[]string{"--rerun", "failed", "--from", gone, "--redis", redis}, "no such batch"},
		"an unknown batch over a server": {[]string{"--rerun", "failed", "--from", gone, "--server", url}, "no such batch"},
		"all batches of an owner":        {[]string{"--rerun", "failed", "--from", "owner", "--redis", redis}, "name one batch"},
		"a bad condition":                {[]string{"--rerun", "failed ==", "--from", gone, "--redis", redis}, "rerun: "},
		"no results file":                {[]string{"--rerun", "failed", "--from", "gone.jsonl", "--redis", redis}, "no such file"},
		"another file":                   {[]string{"--rerun", "failed", "--from", spec, "--redis", redis}, "does not hold results"},
		"reuse, too":                     {[]string{"--rerun", "failed", "--from", gone, "--reuse", gone, "--redis", redis}, "give one of them"},
	} {
		t.Run(name, func(t *testing.T) {
			r := coordinate(t, nil, "", append([]string{"submit", spec}, c.args...)...)
			assert.Equal(t, terminal.ExitUsage, r.status, r.err)
			assert.Contains(t, r.err, c.says)
			assert.Empty(t, r.out)
		})
	}
}

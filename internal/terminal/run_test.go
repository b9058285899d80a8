package terminal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/localrun"
	"github.com/batchagent/batchagent/pkg/batch"
)

// TestRunSortsAndResumes runs a batch, loses half of its results, and runs the rest.
func TestRunSortsAndResumes(t *testing.T) {
	t.Parallel()
	path, jobs := questionsInTurn(t, 20, 8)
	file := filepath.Join(t.TempDir(), "r.jsonl")
	o := localrun.Options{
		Spec: path, Out: file, Getenv: func(string) string { return "" }, Logger: slog.New(slog.DiscardHandler), Stdin: strings.NewReader(""),
	}
	check := func() (order []int64, lines []string) {
		var out, said bytes.Buffer
		require.NoError(t, Run(t.Context(), o, nil, NewConsole(&out, &said)), said.String())
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		lines = strings.SplitAfter(strings.TrimSpace(string(text)), "\n")
		for _, line := range lines {
			var r batch.Result
			require.NoError(t, json.Unmarshal([]byte(line), &r))
			require.Equal(t, batch.JobID(r.Index), r.JobID)
			order = append(order, r.Index)
		}
		require.Len(t, order, jobs)
		return order, lines
	}
	indexes := make([]int64, jobs)
	for i := range indexes {
		indexes[i] = int64(i)
	}
	order, lines := check()
	require.ElementsMatch(t, indexes, order)
	first := map[int64]string{}
	for i, line := range lines {
		first[order[i]] = strings.TrimSpace(line)
	}
	require.NoError(t, os.WriteFile(file, []byte(strings.Join(lines[:len(lines)/2], "")), 0o600))
	o.Resume = true
	order, lines = check()
	require.ElementsMatch(t, indexes, order)
	for i, line := range lines {
		var was, is batch.Result
		require.NoError(t, json.Unmarshal([]byte(first[order[i]]), &was))
		require.NoError(t, json.Unmarshal([]byte(line), &is))
		require.Equal(t, was.Question, is.Question, "job %d has the result of another one", order[i])
		require.JSONEq(t, string(was.Output), string(is.Output))
	}
}

// questionsInTurn writes a spec that asks a question about each document in turn, so that sorting gains from it.
func questionsInTurn(t *testing.T, documents, questions int) (path string, jobs int) {
	t.Helper()
	var rows bytes.Buffer
	for q := range questions {
		for d := range documents {
			fmt.Fprintf(&rows, "{\"document\":%q,\"question\":\"question %d\"}\n", strings.Repeat(fmt.Sprintf("w%d ", d*7919), 400), q)
		}
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rows.jsonl"), rows.Bytes(), 0o600))
	path = filepath.Join(dir, "s.yaml")
	require.NoError(t, os.WriteFile(path, []byte("task: \"Read this. {document}\\n{question}\"\ninputs: rows.jsonl\nname: s\n"), 0o600))
	return path, documents * questions
}

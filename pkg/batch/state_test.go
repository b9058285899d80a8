package batch

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The golden table has a row for every state and a column for every event; "." is a transition that cannot happen.
func TestNextOverEveryPair(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	fmt.Fprintf(&b, "%-10s", "")
	for _, e := range Events {
		fmt.Fprintf(&b, " %-10s", e)
	}
	b.WriteString("\n")
	for _, s := range States {
		fmt.Fprintf(&b, "%-10s", s)
		for _, e := range Events {
			to, err := Next(s, e)
			cell := string(to)
			if err != nil {
				bad, ok := errors.AsType[*TransitionError](err)
				require.True(t, ok)
				assert.Equal(t, TransitionError{State: s, Event: e}, *bad)
				assert.Equal(t, s, to, "a refused event leaves the state as it is")
				cell = "."
			}
			fmt.Fprintf(&b, " %-10s", cell)
		}
		b.WriteString("\n")
	}
	golden(t, "transitions", trimmed(b.String()))
}

func trimmed(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(want), got)
}

func TestEveryStateCanBeReachedAndLeftOrIsAnEnd(t *testing.T) {
	t.Parallel()
	reached := map[State]bool{Pending: true}
	for _, s := range States {
		leaves := 0
		for _, e := range Events {
			if to, err := Next(s, e); err == nil {
				reached[to] = true
				leaves++
			}
		}
		assert.Equal(t, s == Complete || s == Cancelled, leaves == 0, "%s", s)
		assert.False(t, s.Terminal() && s.Leased(), "%s", s)
	}
	assert.Len(t, reached, len(States))
	_, err := Next("LOST", Claim)
	require.ErrorContains(t, err, "LOST")
}

// The diagram in ARCHITECTURE.md names every transition of the code, and no other state or event.
func TestTheDiagramNamesEveryState(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../ARCHITECTURE.md")
	require.NoError(t, err)
	for _, s := range States {
		assert.Contains(t, string(text), string(s))
	}
	for _, e := range Events {
		assert.Contains(t, string(text), string(e))
	}
}

// Scripts rely on this line: new fields may come, none changes its meaning.
func TestTheResultLine(t *testing.T) {
	t.Parallel()
	ok := Result{
		Batch: "b_01k0000000000000000000000", JobID: JobID(3), Index: 3, Status: OK, Output: json.RawMessage(`{"a":1}`),
		Attempts: 1, Turns: 2, Usage: Usage{PromptTokens: 812, CachedTokens: 640, CompletionTokens: 57},
		Tools: ToolCounts{Asked: 1}, Model: "qwen3-32b", Worker: "node-1", WallMS: 412,
	}
	failed := ok
	failed.Status, failed.Output, failed.Error = StatusFailed, json.RawMessage("null"), NewError(BackendUnavailable, "no answer")
	var lines []string
	for _, r := range []Result{ok, failed} {
		line, err := json.Marshal(r)
		require.NoError(t, err)
		lines = append(lines, string(line))
		var back Result
		require.NoError(t, json.Unmarshal(line, &back))
		assert.Equal(t, r, back)
	}
	golden(t, "results", strings.Join(lines, "\n")+"\n")
}

// The list of error types is closed and documented, with what is retryable.
func TestErrorTypesAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/results.md")
	require.NoError(t, err)
	for _, e := range ErrorTypes {
		var row string
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "| `"+string(e)+"` |") {
				row = line
			}
		}
		require.NotEmpty(t, row, "%s is not in docs/results.md", e)
		says := strings.TrimSpace(strings.Split(row, "|")[3])
		assert.Equal(t, map[bool]string{true: "yes", false: "no"}[e.Retryable()], says, "%s", e)
	}
	assert.Equal(t, len(ErrorTypes), strings.Count(string(text), "| yes |")+strings.Count(string(text), "| no |"), "docs/results.md names another type")
}

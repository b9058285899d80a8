package terminal

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/batch"
)

func someView(width int, colour bool) view {
	return view{
		Progress: operation.Progress{Name: "papers", Phase: batch.Sealed, Total: 400, Rate: 12.3, Counts: batch.Counts{
			Total: 400, Fed: 400, OK: 190, Failed: 20, Running: 32, Waiting: 158,
			Usage: batch.Usage{PromptTokens: 100, CachedTokens: 84}, Tools: batch.ToolCounts{Asked: 420, Executed: 105},
		}},
		width: width, colour: colour,
		last: []batch.Result{
			{JobID: "job-209", Status: batch.OK, Output: json.RawMessage(`{"summary":"接頭辞は役に立つ。 Prefixes help a lot, says the paper."}`), WallMS: 5500},
			{JobID: "job-199", Status: batch.StatusFailed, Error: batch.NewError(batch.BackendUnavailable, "503 four times\nin a row"), WallMS: 7800},
		},
	}
}

func TestViewLines(t *testing.T) {
	assert.Equal(t, strings.Join([]string{
		"papers  ━━━━━━━━━━━━━━━───────────────  210/400  52%  12.3 jobs/s  ETA 15.4s",
		"ok 190   failed 20   in flight 32   waiting 158   cached 84%   tool calls 420, 75% shared",
		"job-209  ok         5.5s  {\"summary\":\"接頭辞は役に立つ。 Prefixes help a lot, says the paper.\"}",
		"job-199  failed     7.8s  BackendUnavailable: 503 four times in a row",
	}, "\n"), someView(100, false).String())
}

// A line wider than the terminal would wrap and could not be erased.
func TestViewFitsTerminal(t *testing.T) {
	for width := 2; width < 130; width++ {
		for line := range strings.SplitSeq(someView(width, false).String(), "\n") {
			assert.Less(t, columns(line), width)
		}
	}
	coloured := someView(60, true).String()
	assert.Contains(t, coloured, "\x1b[31m")
	for line := range strings.SplitSeq(coloured, "\n") {
		assert.Equal(t, strings.Count(line, "\x1b[")/2, strings.Count(line, "\x1b[0m"), "every colour is reset: %q", line)
	}
	assert.NotContains(t, someView(60, false).String(), "\x1b")
}

// screen returns the lines that a terminal shows after text. It implements the escapes that the console uses.
func screen(text string) []string {
	lines, row, column := []string{""}, 0, 0
	for i := 0; i < len(text); {
		switch {
		case strings.HasPrefix(text[i:], "\x1b[K"):
			lines[row] = lines[row][:min(column, len(lines[row]))]
			i += 3
		case strings.HasPrefix(text[i:], "\x1b[1A"):
			row = max(row-1, 0)
			i += 4
		case strings.HasPrefix(text[i:], "\x1b[2K"):
			lines[row] = ""
			i += 4
		case text[i] == '\r':
			column = 0
			i++
		case text[i] == '\n':
			row, column = row+1, 0
			if row == len(lines) {
				lines = append(lines, "")
			}
			i++
		default:
			lines[row] += string(text[i])
			column++
			i++
		}
	}
	return lines
}

// Printed lines stay. The status is shown once, at the bottom, with any number of lines.
func TestStatusStaysBelowOutput(t *testing.T) {
	var out, err bytes.Buffer
	c := &Console{out: &out, err: &err, live: true, width: func() int { return 80 }}
	c.Status("one\ntwo\nthree")
	c.Say("first")
	c.Status("four")
	c.Say("second")
	_, e := c.Stdout().Write([]byte("result\n"))
	require.NoError(t, e)
	c.Status("five\nsix")
	assert.Equal(t, []string{"first", "second", "five", "six"}, screen(err.String()))
	c.Status("")
	assert.Equal(t, "first\nsecond", strings.TrimRight(strings.Join(screen(err.String()), "\n"), "\n"))
	assert.Equal(t, "result\n", out.String(), "never on standard output")
}

func TestConsoleKeepsLastResults(t *testing.T) {
	c := &Console{live: true, width: func() int { return 80 }}
	for i := range int64(5) {
		c.Note(batch.Result{JobID: batch.JobID(i)})
	}
	last := c.view(operation.Progress{}).last
	require.Len(t, last, lastShown)
	assert.Equal(t, "job-4", last[0].JobID)
	c = &Console{live: true, both: true, width: func() int { return 80 }}
	c.arrivals(true)(batch.Result{JobID: "job-1"})
	assert.Empty(t, c.view(operation.Progress{}).last, "standard output shows them on the same screen")
	c.arrivals(false)(batch.Result{JobID: "job-1"})
	assert.Len(t, c.view(operation.Progress{}).last, 1)
}

package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFaultChecksEveryLine(t *testing.T) {
	t.Parallel()
	s := settings{agents: 3, documents: 2}
	for name, c := range map[string]struct {
		lines  string
		killed bool
		runs   int64 // of the tool
		says   string
	}{
		"all there":            {`{"index":0,"status":"ok"}` + "\n" + `{"index":2,"status":"ok"}` + "\n" + `{"index":1,"status":"ok"}`, false, 2, ""},
		"one lost":             {`{"index":0,"status":"ok"}` + "\n" + `{"index":2,"status":"ok"}`, false, 2, "2 lines for 3 jobs, 1 lost, 0 doubled, 0 failed"},
		"one doubled":          {`{"index":0,"status":"ok"}` + "\n" + `{"index":0,"status":"ok"}` + "\n" + `{"index":1,"status":"ok"}`, true, 2, "3 lines for 3 jobs, 1 lost, 1 doubled, 0 failed"},
		"one failed":           {`{"index":0,"status":"ok"}` + "\n" + `{"index":1,"status":"failed"}` + "\n" + `{"index":2,"status":"ok"}`, true, 2, "3 lines for 3 jobs, 0 lost, 0 doubled, 1 failed"},
		"a tool ran again":     {`{"index":0,"status":"ok"}` + "\n" + `{"index":1,"status":"ok"}` + "\n" + `{"index":2,"status":"ok"}`, false, 3, "read_file ran 3 times for 2 documents"},
		"a tool's worker died": {`{"index":0,"status":"ok"}` + "\n" + `{"index":1,"status":"ok"}` + "\n" + `{"index":2,"status":"ok"}`, true, 3, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "results.jsonl")
			require.NoError(t, os.WriteFile(path, []byte(c.lines+"\n"), 0o600))
			f, err := os.Open(path)
			require.NoError(t, err)
			defer f.Close()
			var r ran
			require.NoError(t, r.count(f, s.agents))
			r.counts.Tools.Executed = c.runs
			assert.Equal(t, c.says, r.fault(s, c.killed))
		})
	}
}

func TestMayLose(t *testing.T) {
	t.Parallel()
	// Work for ten seconds of four nodes was left. Three nodes need a third more time for it.
	assert.Equal(t, 15*time.Second+10*time.Second/3, mayLose(20*time.Second, 10*time.Second, 15*time.Second, 4))
	assert.Equal(t, 15*time.Second, mayLose(20*time.Second, 21*time.Second, 15*time.Second, 2))
}

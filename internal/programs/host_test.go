package programs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/program"
	"github.com/batchagent/batchagent/pkg/spec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, cfg Config) *Host {
	t.Helper()
	h, err := New(cfg)
	require.NoError(t, err)
	return h
}

var declared = []program.Program{{Name: "b", Argv: []string{"cat"}}, {Name: "a", Argv: []string{"cat"}}}

// A worker of a cluster never runs what a spec brings, even if a submitter did not check it.
func TestOnlyARunOfItsOwnUserRunsCommands(t *testing.T) {
	t.Parallel()
	h := open(t, Config{Declared: declared})
	defer h.Close()
	assert.Equal(t, []string{"a", "b"}, h.Names())
	assert.Equal(t, []string{"program:a", "program:b"}, h.Needs())
	require.NoError(t, h.Runs(&spec.Agent{Program: "a"}))
	require.ErrorContains(t, h.Runs(&spec.Agent{Program: "c"}), `no program "c"`)
	for _, own := range []*spec.Agent{{Command: []string{"sh"}}, {Socket: "/tmp/s"}} {
		require.ErrorContains(t, h.Runs(own), "cannot bring its own command")
		_, err := h.Run(t.Context(), batch.Job{}, "m", agent.ProgramTask{Agent: own}, nil)
		require.ErrorContains(t, err, "cannot bring its own command")
	}
	mine := open(t, Config{Own: true})
	defer mine.Close()
	require.NoError(t, mine.Runs(&spec.Agent{Command: []string{"sh"}}))
}

// A run on the user's own machine needs the sandboxes of its own programs only.
func TestCheckLooksAtNeededProgramsOnly(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	h := open(t, Config{Declared: append([]program.Program{{Name: "c", Isolation: program.Docker}, {Name: "d", Isolation: program.Bubblewrap}}, declared...)})
	defer h.Close()
	require.NoError(t, h.Check(t.Context(), []string{"grep_files", "program:a"}))
	require.ErrorContains(t, h.Check(t.Context(), h.Needs()), "the program c: isolation: docker needs the command docker, and this machine has none")
	require.ErrorContains(t, h.Check(t.Context(), []string{"program:d"}), "the program d: isolation: bubblewrap needs the command bwrap")
}

// A program may run in another folder than the spec.
func TestFilesBesideTheSpecAreAbsolute(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "agent.py"), nil, 0o600))
	h := open(t, Config{Own: true, SpecDir: dir})
	defer h.Close()
	assert.Equal(t, []string{"python3", filepath.Join(dir, "agent.py"), "--file=agent.py", "other.py", "-x"},
		h.absolute([]string{"python3", "agent.py", "--file=agent.py", "other.py", "-x"}))
	assert.Equal(t, []string{"agent.py"}, h.absolute([]string{"agent.py"}), "a program's name is looked up")
}

func TestHostLeavesNothing(t *testing.T) {
	t.Parallel()
	temp := t.TempDir()
	h := open(t, Config{Own: true, Temp: temp})
	h.once.Do(h.open)
	require.NoError(t, h.err)
	h.Close()
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	assert.Empty(t, left)
}

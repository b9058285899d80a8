package collect

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
)

// rewriteVariable names the file that TestRewriteForever rewrites in its own process.
const rewriteVariable = "BATCHAGENT_TEST_REWRITE"

// stuckFormat prints a line at record 2 and then blocks forever.
type stuckFormat struct{ Format }

func (s stuckFormat) renumber(r batch.Result, record []byte, index int64) ([]byte, error) {
	if r.Index == 2 {
		fmt.Println("rewriting")
		select {}
	}
	return s.Format.renumber(r, record, index)
}

func TestRewriteForever(t *testing.T) {
	path := os.Getenv(rewriteVariable)
	if path == "" {
		t.Skip("runs in the process of TestKilledRewriteLeavesNoTemporaryFile")
	}
	file, err := OpenFile(path, JSONL{}, testBatch, 3)
	require.NoError(t, err)
	file.format = stuckFormat{JSONL{}}
	_, _ = file.Rewritten(3, func(i int64) int64 { return 2 - i })
}

func TestKilledRewriteLeavesNoTemporaryFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "r.jsonl")
	results, lines := someResults(t, 3)
	file, err := OpenFile(path, JSONL{}, testBatch, 3)
	require.NoError(t, err)
	require.NoError(t, collect(file, results, lines))
	require.NoError(t, file.Close())
	other := filepath.Join(dir, ".r.jsonl2.rewrite")
	require.NoError(t, os.WriteFile(other, nil, 0o600), "another file is rewritten at the same time")

	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRewriteForever$")
	cmd.Env = append(os.Environ(), rewriteVariable+"="+path)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "rewriting\n", line)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 3, "the rewrite has its own file")
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()

	file, err = OpenFile(path, JSONL{}, testBatch, 3)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	assert.Equal(t, indexesUpTo(3), records(t, path, JSONL{}))
	left, err = os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, left, 2)
	assert.FileExists(t, other)
}

package program

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/redact"
	"github.com/batchagent/batchagent/pkg/spec"
)

// kept is a store in memory.
type kept map[string]string

func (k kept) Keep(_ context.Context, name string, content io.ReaderAt, size int64) (string, error) {
	text, err := io.ReadAll(io.NewSectionReader(content, 0, size))
	k[name] = string(text)
	return "s3://bucket/" + name, err
}

type brokenStore struct{ error }

func (b brokenStore) Keep(context.Context, string, io.ReaderAt, int64) (string, error) {
	return "", b.error
}

func TestLargeFilesGoToTheStore(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git on this machine")
	}
	r := runner(t)
	store := kept{}
	r.Files = store
	from := filepath.Join(r.Root, "repo")
	require.NoError(t, os.MkdirAll(from, 0o755))
	big := strings.Repeat("x", maxFile+1)
	p := Program{Argv: []string{"sh", "-c", `head -c 262145 /dev/zero | tr '\0' x > 'big ü.txt'; echo small > small.txt; head -c 1100000 /dev/zero | tr '\0' '\n' > lines`}}
	j := Job{Description: job, Workspace: &spec.Workspace{From: "repo", Collect: []string{"*.txt"}, Diff: true}}
	a, err := r.Run(t.Context(), p, j)
	require.NoError(t, err)
	sum := sha256.Sum256([]byte(big))
	hash := hex.EncodeToString(sum[:])
	name := "b_1/" + hash[:32] + "-big__.txt"
	assert.Equal(t, batch.File{Path: "s3://bucket/" + name, SHA256: hash, Size: int64(len(big))}, a.Files["big ü.txt"])
	assert.Equal(t, batch.File{Text: "small\n", Size: 6}, a.Files["small.txt"])
	assert.Equal(t, big, store[name])
	assert.Empty(t, a.Diff)
	patch := a.DiffFile
	require.NotNil(t, patch)
	assert.Greater(t, patch.Size, int64(maxDiff))
	assert.Contains(t, store[strings.TrimPrefix(patch.Path, "s3://bucket/")], "+++ b/lines")
	assert.Len(t, store, 2)

	r.Files = brokenStore{errors.New("the disk is full")}
	_, err = r.Run(t.Context(), p, j)
	require.ErrorContains(t, err, "collect big ü.txt: the disk is full")
	var failure *batch.Error
	require.NotErrorAs(t, err, &failure, "the job is not to blame")
}

// TestCollectIsLimited checks that a program cannot make a result of any size, or fill the store.
func TestCollectIsLimited(t *testing.T) {
	t.Parallel()
	r := runner(t)
	r.Files = kept{}
	for script, want := range map[string]string{
		"i=0; while [ $i -le 1000 ]; do : > f$i; i=$((i+1)); done": "more than 1000 files match workspace.collect",
		"truncate -s 1073741825 f":                                 "the collected file f has 1073741825 bytes; at most 1073741824 are kept",
	} {
		_, err := r.Run(t.Context(), Program{Argv: []string{"sh", "-c", script}}, Job{Description: job, Workspace: &spec.Workspace{Collect: []string{"f*"}}})
		var failure *batch.Error
		require.ErrorAs(t, err, &failure, want)
		assert.Equal(t, batch.ProgramFailed, failure.Type)
		assert.Contains(t, failure.Message, want)
	}
	c := collector{store: kept{}, stored: maxStoredAll, job: "b_1/job-0"}
	f, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	_, err = c.keep(t.Context(), "x", f, 1)
	require.ErrorContains(t, err, "the collected files have more than 4294967296 bytes")
}

// TestSecretsAreRedactedInWhatAProgramLeaves checks the answer's file, collected files also at the cut, and the diff.
func TestSecretsAreRedactedInWhatAProgramLeaves(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git on this machine")
	}
	const secret = "key-of-the-operator-31415926"
	r := runner(t)
	r.Secrets = redact.New(secret)
	require.NoError(t, os.Mkdir(filepath.Join(r.Root, "repo"), 0o755))
	p := Program{Env: []string{"KEY=" + secret}, Argv: []string{"sh", "-c", `
		echo "it is $KEY" > answer.txt
		echo "small $KEY" > small.txt
		{ head -c 262130 /dev/zero | tr '\0' x; echo "$KEY"; seq 1000; } > cut.txt`}}
	a, err := r.Run(t.Context(), p, Job{Description: job, Output: "answer.txt", Workspace: &spec.Workspace{From: "repo", Collect: []string{"*.txt"}, Diff: true}})
	require.NoError(t, err)
	assert.True(t, a.Files["cut.txt"].Cut)
	assert.Contains(t, a.Files["small.txt"].Text, "small ")
	assert.Contains(t, a.Diff, "+small ")
	for name, text := range map[string]string{"answer": a.Text, "small": a.Files["small.txt"].Text, "cut": a.Files["cut.txt"].Text, "diff": a.Diff} {
		assert.NotContains(t, text, secret[:10], name)
	}
}

func TestPlainName(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "a-b_c.txt", plainName("dir/a-b c.txt"))
	assert.Len(t, plainName(strings.Repeat("x", 300)+".bin"), 100)
}

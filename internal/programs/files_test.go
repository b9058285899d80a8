package programs

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/fault"
)

func TestFolderKeepsFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made on demand")
	s, err := openFiles(dir, os.Getenv, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	for range 2 { // a second attempt stores the same file
		at, err := s.Keep(t.Context(), "b_1/abc-x.txt", strings.NewReader("content"), 7)
		require.NoError(t, err)
		assert.Equal(t, filepath.Join(dir, "b_1", "abc-x.txt"), at)
		text, err := os.ReadFile(at)
		require.NoError(t, err)
		assert.Equal(t, "content", string(text))
	}
	all, err := os.ReadDir(filepath.Join(dir, "b_1"))
	require.NoError(t, err)
	assert.Len(t, all, 1, "no part of a file is left")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	_, err = s.Keep(t.Context(), "file/x", strings.NewReader("c"), 1)
	require.ErrorContains(t, err, "keep a file: ")
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	none := func(string) string { return "" }
	for at, want := range map[string]string{
		"s3://bucket":   "files: ",
		"s3://bucket/p": "files: s3:// needs credentials",
	} {
		_, err := New(Config{Files: at, Getenv: none})
		var usage *fault.UsageError
		require.ErrorAs(t, err, &usage, at)
		require.ErrorContains(t, err, want)
	}
	s, err := openFiles("", none, nil)
	require.NoError(t, err)
	assert.Nil(t, s)
}

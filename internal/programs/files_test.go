package programs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
	_, err = folder(dir).put(t.Context(), "file/x", strings.NewReader("c"), 1)
	require.Error(t, err)
}

// A full disk and an outage of the store delay a job.
func TestKeepTriesAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		fails := 3
		f := &files{log: slog.New(slog.NewTextHandler(&log, nil)), put: func(context.Context, string, io.ReaderAt, int64) (string, error) {
			if fails--; fails >= 0 {
				return "", errors.New("no space left on device")
			}
			return "kept", nil
		}}
		began := time.Now()
		at, err := f.Keep(t.Context(), "x", nil, 0)
		require.NoError(t, err)
		assert.Equal(t, "kept", at)
		assert.Equal(t, 7*time.Second, time.Since(began))
		assert.Contains(t, log.String(), "no space left on device")

		fails = 1000
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err = f.Keep(ctx, "x", nil, 0)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
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
}

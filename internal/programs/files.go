package programs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/s3"
	"github.com/batchagent/batchagent/pkg/program"
	"github.com/batchagent/batchagent/pkg/sleep"
)

// Waits between two tries to store a file.
const (
	firstWait   = time.Second
	longestWait = time.Minute
)

// openFiles returns the store at a folder or at the beginning of s3:// names. "" has no store. It does not connect.
func openFiles(at string, getenv func(string) string, log *slog.Logger) (program.Store, error) {
	switch {
	case at == "":
		return nil, nil
	case !s3.Is(at):
		return folderStore{at}, nil
	}
	prefix, err := s3.Parse(strings.TrimSuffix(at, "/"))
	if err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	client, err := s3.FromEnv(getenv)
	if err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	return objectStore{client, prefix, log}, nil
}

// folderStore keeps files in a folder.
type folderStore struct{ dir string }

// Keep writes the file beside its place and renames it, so that no other process sees a part of it.
func (s folderStore) Keep(_ context.Context, name string, content io.ReaderAt, size int64) (at string, err error) {
	at = filepath.Join(s.dir, filepath.FromSlash(name))
	if info, err := os.Stat(at); err == nil && info.Size() == size {
		return at, nil
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o750); err != nil {
		return "", fmt.Errorf("keep a file: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(at), ".part-*")
	if err != nil {
		return "", fmt.Errorf("keep a file: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone if it was renamed
	_, err = io.Copy(f, io.NewSectionReader(content, 0, size))
	if err = errors.Join(err, f.Chmod(0o640), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), at)
	}
	if err != nil {
		return "", fmt.Errorf("keep a file: %w", err)
	}
	return at, nil
}

// objectStore keeps files as objects.
type objectStore struct {
	client *s3.Client
	prefix s3.Name
	log    *slog.Logger
}

// Keep tries again until the store accepts the file or the attempt ends.
func (s objectStore) Keep(ctx context.Context, name string, content io.ReaderAt, size int64) (at string, err error) {
	object := s3.Name{Bucket: s.prefix.Bucket, Key: s.prefix.Key + "/" + name}
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		if _, err = s.client.Version(ctx, object); errors.Is(err, s3.ErrNotExist) {
			_, err = s.client.Store(ctx, object, content, size, s3.Condition{})
		}
		if err == nil {
			return object.String(), nil
		}
		if _, usage := errors.AsType[*fault.UsageError](err); usage {
			return "", fmt.Errorf("keep a file: %w", err)
		}
		s.log.Warn("a collected file cannot be stored; trying again", "object", object.String(), "after", wait, "error", err)
		if err := sleep.For(ctx, wait); err != nil {
			return "", err
		}
	}
}

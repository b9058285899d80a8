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
	"github.com/batchagent/batchagent/pkg/sleep"
)

// Waits between two tries to store a file.
const (
	firstWait   = time.Second
	longestWait = time.Minute
)

// files keeps the large files of programs. It implements [program.Store].
type files struct {
	put   func(ctx context.Context, name string, content io.ReaderAt, size int64) (at string, err error)
	close func()
	log   *slog.Logger
}

// openFiles opens the place of large files: a folder, or the beginning of s3:// names. It does not connect. A *fault.UsageError: the place
// cannot be used.
func openFiles(at string, getenv func(string) string, log *slog.Logger) (*files, error) {
	if !s3.Is(at) {
		return &files{folder(at).put, func() {}, log}, nil
	}
	prefix, err := s3.Parse(strings.TrimSuffix(at, "/"))
	if err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	client, err := s3.FromEnv(getenv)
	if err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	return &files{objects{client, prefix}.put, client.Close, log}, nil
}

// Keep tries again until the file is stored or the attempt ends: a full disk or an outage of the store delays a job.
func (f *files) Keep(ctx context.Context, name string, content io.ReaderAt, size int64) (at string, err error) {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		at, err = f.put(ctx, name, content, size)
		if err == nil {
			return at, nil
		}
		if _, usage := errors.AsType[*fault.UsageError](err); usage {
			return "", fmt.Errorf("keep a file: %w", err)
		}
		f.log.Warn("a collected file cannot be stored; trying again", "file", name, "after", wait, "error", err)
		if err := sleep.For(ctx, wait); err != nil {
			return "", err
		}
	}
}

// folder is a place on this machine.
type folder string

// put writes the file beside its place and renames it, so that no other process sees a part of it.
func (d folder) put(_ context.Context, name string, content io.ReaderAt, size int64) (at string, err error) {
	at = filepath.Join(string(d), filepath.FromSlash(name))
	if info, err := os.Stat(at); err == nil && info.Size() == size { // the name has a hash of the content
		return at, nil
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o750); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(filepath.Dir(at), ".part-*")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone if it was renamed
	_, err = io.Copy(f, io.NewSectionReader(content, 0, size))
	if err = errors.Join(err, f.Chmod(0o640), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), at)
	}
	return at, err
}

// objects is a place in an object store.
type objects struct {
	client *s3.Client
	prefix s3.Name
}

func (o objects) put(ctx context.Context, name string, content io.ReaderAt, size int64) (at string, err error) {
	object := s3.Name{Bucket: o.prefix.Bucket, Key: o.prefix.Key + "/" + name}
	if _, err = o.client.Version(ctx, object); errors.Is(err, s3.ErrNotExist) {
		_, err = o.client.Store(ctx, object, content, size, s3.Condition{})
	}
	return object.String(), err
}

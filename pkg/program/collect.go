package program

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// Limits of what a result holds, in bytes. What is larger goes to the store of files.
const (
	maxFile  = 256 << 10 // of one collected file
	maxFiles = 1 << 20   // of all collected files of a job
	maxDiff  = 1 << 20
)

const (
	// maxCollected limits the number of collected files of a job.
	maxCollected = 1000
	// maxStored limits a file in the store, and maxStoredAll all files of a job, in bytes.
	maxStored    = 1 << 30
	maxStoredAll = 4 << 30
	// diffName is the name of a diff that is too large for the result, among the files of the result.
	diffName = "diff.patch"
)

// Store keeps files that are too large for a result. Safe for concurrent use.
type Store interface {
	// Keep stores a file and returns its path or s3:// address. A second call with the same name and content changes nothing. Keep waits
	// while the store cannot be reached. name is a path below the store, without "..".
	Keep(ctx context.Context, name string, content io.ReaderAt, size int64) (at string, err error)
}

// collector collects what a program left for the result.
type collector struct {
	folder *folder
	store  Store // nil cuts large files
	job    string
	files  map[string]batch.File
	room   int   // bytes that the result takes
	stored int64 // bytes in the store
}

// collectAll returns the collected files and the diff of a workspace.
func (d *folder) collectAll(ctx context.Context, w *spec.Workspace, job string, store Store) (files map[string]batch.File, diff string, err error) {
	c := collector{folder: d, store: store, job: job, room: maxFiles}
	if err := c.collect(ctx, w.Collect); err != nil {
		return nil, "", err
	}
	if w.Diff {
		diff, err = c.diff(ctx)
	}
	return c.files, diff, err
}

// collect reads the files that match the patterns, in the order of the patterns and names.
func (c *collector) collect(ctx context.Context, patterns []string) error {
	if len(patterns) == 0 {
		return nil
	}
	root, err := os.OpenRoot(c.folder.work) // a link that leads out of the folder is not followed
	if err != nil {
		return fmt.Errorf("collect files: %w", err)
	}
	defer func() { _ = root.Close() }()
	c.files = map[string]batch.File{}
	for _, pattern := range patterns {
		names, err := fs.Glob(root.FS(), pattern)
		if err != nil {
			return fmt.Errorf("collect %s: %w", pattern, err)
		}
		for _, name := range names {
			if _, known := c.files[name]; known {
				continue
			}
			if len(c.files) == maxCollected {
				return batch.NewError(batch.ProgramFailed, fmt.Sprintf("more than %d files match workspace.collect", maxCollected))
			}
			info, err := root.Stat(name)
			if err != nil || !info.Mode().IsRegular() { // to open a named pipe would wait for ever
				continue
			}
			f, err := root.Open(name)
			if err != nil {
				continue
			}
			err = c.add(ctx, name, f)
			_ = f.Close()
			if err != nil {
				return fmt.Errorf("collect %s: %w", name, err)
			}
		}
	}
	return nil
}

// add puts a file into the result. A large one goes to the store, or is cut.
func (c *collector) add(ctx context.Context, name string, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	most := min(maxFile, c.room)
	if info.Size() > int64(most) && c.store != nil {
		return c.keep(ctx, name, f, info.Size())
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(most)))
	if err != nil {
		return err
	}
	out := batch.File{Size: info.Size(), Cut: int64(len(data)) < info.Size()}
	if text := strings.ToValidUTF8(string(data), ""); len(data)-len(text) < utf8.UTFMax && (out.Cut || len(text) == len(data)) {
		out.Text = text // only a character at the cut is left out
	} else {
		out.Base64 = data
	}
	c.room -= len(out.Text) + len(out.Base64)
	c.files[name] = out
	return nil
}

// keep puts a file into the store. Its name there begins with its hash, so that several attempts at a job store it once, and none
// replaces what the result of another one refers to.
func (c *collector) keep(ctx context.Context, name string, f *os.File, size int64) error {
	if size > maxStored {
		return batch.NewError(batch.ProgramFailed, fmt.Sprintf("the collected file %s has %d bytes; at most %d are kept", name, size, int64(maxStored)))
	}
	if c.stored += size; c.stored > maxStoredAll {
		return batch.NewError(batch.ProgramFailed, fmt.Sprintf("the collected files have more than %d bytes", int64(maxStoredAll)))
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(f, 0, size)); err != nil {
		return err
	}
	sum := hex.EncodeToString(hash.Sum(nil))
	id, _, _ := strings.Cut(c.job, "/")
	at, err := c.store.Keep(ctx, path.Join(id, sum[:32]+"-"+plainName(name)), f, size)
	if err != nil {
		return err
	}
	if c.files == nil {
		c.files = map[string]batch.File{}
	}
	c.files[name] = batch.File{Path: at, SHA256: sum, Size: size}
	return nil
}

// plainName returns the end of a file's name, in characters that every store takes.
func plainName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)) {
			return r
		}
		return '_'
	}, path.Base(name))
	return name[max(0, len(name)-100):]
}

// diff returns the changes since recordState. If they are too large for a result, they become a file of it.
func (c *collector) diff(ctx context.Context) (string, error) {
	d := c.folder
	to := filepath.Join(d.path, diffName)
	if err := d.writeDiff(ctx, to); err != nil {
		return "", fmt.Errorf("find the changes of the working folder: %w", err)
	}
	f, err := os.Open(to)
	if err != nil {
		return "", fmt.Errorf("read the changes of the working folder: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("read the changes of the working folder: %w", err)
	}
	switch {
	case info.Size() <= maxDiff:
		text, err := io.ReadAll(f)
		return string(text), err
	case c.store == nil:
		return "", batch.NewError(batch.ProgramFailed, fmt.Sprintf("the changes of the working folder have %d bytes; at most %d fit into a result", info.Size(), maxDiff))
	}
	return "", c.keep(ctx, diffName, f, info.Size())
}

// writeDiff writes the changes since recordState to a file.
func (d *folder) writeDiff(ctx context.Context, to string) error {
	at := []string{"--git-dir=" + d.git, "--work-tree=" + d.work}
	if _, err := d.gitIn(ctx, d.work, append(slices.Clone(at), "add", "--all")...); err != nil {
		return err
	}
	show := append(slices.Clone(at), "diff", "--cached", "--no-color", "--binary", "--output="+to)
	if _, err := d.gitIn(ctx, d.work, show...); err != nil {
		return err
	}
	if info, err := os.Stat(to); err != nil || info.Size() > maxDiff {
		return err // a file may have any content
	}
	text, err := os.ReadFile(to) //nolint:gosec // in the job's folder
	if err != nil || utf8.Valid(text) {
		return err
	}
	// git takes a file without NUL bytes for text.
	if err := os.WriteFile(filepath.Join(d.git, "info", "attributes"), []byte("* binary\n"), 0o600); err != nil {
		return err
	}
	_, err = d.gitIn(ctx, d.work, show...)
	return err
}

package program

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
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
	"github.com/batchagent/batchagent/pkg/internal/capture"
	"github.com/batchagent/batchagent/pkg/redact"
)

// Limits of a result, in bytes. Larger files go to the store.
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
	// diffName is the file with the diff.
	diffName = "diff.patch"
	// secretLength is at least the length of a secret in any form, in bytes.
	secretLength = 64 << 10
)

// Store keeps files that are too large for a result. Safe for concurrent use.
type Store interface {
	// Keep stores a file and returns its path or s3:// address. A second call with the same name and content changes nothing. Keep waits
	// while the store cannot be reached. name is a path below the store, without "..".
	Keep(ctx context.Context, name string, content io.ReaderAt, size int64) (at string, err error)
}

// collector collects the files and the diff of one job's workspace into its answer.
type collector struct {
	folder  *folder
	store   Store           // nil cuts large files
	secrets *redact.Secrets // are redacted in the answer, and not in the store
	job     string
	answer  *Answer
	room    int   // bytes that the answer takes
	stored  int64 // bytes in the store
}

// collectAll fills an answer with the collected files and the diff of a workspace.
func (r *Runner) collectAll(ctx context.Context, d *folder, j Job, a *Answer) error {
	c := collector{folder: d, store: r.Files, secrets: r.Secrets, job: j.Job, answer: a, room: maxFiles}
	if err := c.collect(ctx, j.Workspace.Collect); err != nil {
		return err
	}
	if j.Workspace.Diff {
		return c.diff(ctx)
	}
	return nil
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
	files := map[string]batch.File{}
	c.answer.Files = files
	for _, pattern := range patterns {
		names, err := fs.Glob(root.FS(), pattern)
		if err != nil {
			return fmt.Errorf("collect %s: %w", pattern, err)
		}
		for _, name := range names {
			if _, known := files[name]; known {
				continue
			}
			if len(files) == maxCollected {
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
			files[name], err = c.add(ctx, name, f)
			_ = f.Close()
			if err != nil {
				return fmt.Errorf("collect %s: %w", name, err)
			}
		}
	}
	return nil
}

// add returns the entry of a file. A large file goes to the store, or is cut.
func (c *collector) add(ctx context.Context, name string, f *os.File) (out batch.File, err error) {
	info, err := f.Stat()
	if err != nil {
		return out, err
	}
	most := min(maxFile, c.room)
	if info.Size() > int64(most) && c.store != nil {
		return c.keep(ctx, name, f, info.Size())
	}
	head := capture.NewHead(most)
	redacted := c.secrets.Writer(head)
	read, err := io.Copy(redacted, io.LimitReader(f, int64(most)+secretLength))
	if err = errors.Join(err, redacted.Close()); err != nil {
		return out, err
	}
	data := head.Kept()
	out = batch.File{Size: info.Size(), Cut: head.Cut() || read < info.Size()}
	if text := strings.ToValidUTF8(data, ""); len(data)-len(text) < utf8.UTFMax && (out.Cut || len(text) == len(data)) {
		out.Text = text // only a character at the cut is left out
	} else {
		out.Base64 = []byte(data)
	}
	c.room -= len(out.Text) + len(out.Base64)
	return out, nil
}

// keep puts a file into the store. Its name there begins with its hash. So several attempts at a job store it once, and no attempt
// replaces a file of another result.
func (c *collector) keep(ctx context.Context, name string, f *os.File, size int64) (out batch.File, err error) {
	if size > maxStored {
		return out, batch.NewError(batch.ProgramFailed, fmt.Sprintf("the collected file %s has %d bytes; at most %d are kept", name, size, int64(maxStored)))
	}
	if c.stored += size; c.stored > maxStoredAll {
		return out, batch.NewError(batch.ProgramFailed, fmt.Sprintf("the collected files have more than %d bytes", int64(maxStoredAll)))
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(f, 0, size)); err != nil {
		return out, err
	}
	sum := hex.EncodeToString(hash.Sum(nil))
	id, _, _ := strings.Cut(c.job, "/")
	at, err := c.store.Keep(ctx, path.Join(id, sum[:32]+"-"+plainName(name)), f, size)
	return batch.File{Path: at, SHA256: sum, Size: size}, err
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

// diff puts the changes since recordState into the answer. Changes that are too large for a result go to the store.
func (c *collector) diff(ctx context.Context) error {
	to := filepath.Join(c.folder.path, diffName)
	if err := c.folder.writeDiff(ctx, to); err != nil {
		return fmt.Errorf("find the changes of the working folder: %w", err)
	}
	f, err := os.Open(to) //nolint:gosec // in the job's folder
	if err != nil {
		return fmt.Errorf("read the changes of the working folder: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read the changes of the working folder: %w", err)
	}
	switch {
	case info.Size() > maxDiff && c.store == nil:
		return batch.NewError(batch.ProgramFailed, fmt.Sprintf("the changes of the working folder have %d bytes; at most %d fit into a result", info.Size(), maxDiff))
	case info.Size() > maxDiff:
		kept, err := c.keep(ctx, diffName, f, info.Size())
		c.answer.DiffFile = &kept
		return err
	}
	text, err := io.ReadAll(f)
	c.answer.Diff = c.secrets.Text(string(text))
	return err
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

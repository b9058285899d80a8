package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

const (
	maxFile  = 256 << 10 // bytes of one collected file
	maxFiles = 1 << 20   // bytes of all collected files of a job
	maxDiff  = 1 << 20   // bytes
)

// fill fills the working folder. root is the folder that From is relative to.
func (d *folder) fill(ctx context.Context, w *spec.Workspace, root string, env []string) error {
	if w == nil {
		return nil
	}
	if w.From != "" {
		if err := d.copyFrom(ctx, w, root); err != nil {
			return err
		}
	}
	for _, argv := range w.Run {
		if _, err := (Process{Argv: argv, Env: env, Dir: d.work}).Run(ctx); err != nil {
			return fmt.Errorf("workspace: %w", err)
		}
	}
	if !w.Diff {
		return nil
	}
	return d.recordState(ctx)
}

func (d *folder) copyFrom(ctx context.Context, w *spec.Workspace, root string) error {
	r, err := os.OpenRoot(root)
	if err != nil {
		return fmt.Errorf("open the folder of --tools-root: %w", err)
	}
	defer func() { _ = r.Close() }()
	info, err := r.Stat(w.From)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return missing("the worker has no file or folder %s below its --tools-root", w.From)
	case err != nil:
		return missing("%s below the worker's --tools-root cannot be read", w.From)
	case info.IsDir():
		from, err := r.OpenRoot(w.From)
		if err != nil {
			return missing("%s below the worker's --tools-root cannot be read", w.From)
		}
		defer func() { _ = from.Close() }()
		if err := os.CopyFS(d.work, from.FS()); err != nil {
			return fmt.Errorf("copy %s: %w", w.From, err)
		}
		return nil
	}
	bundle, err := d.copyBundle(r, w.From)
	if err != nil {
		return err
	}
	if _, err := d.gitIn(ctx, d.path, "clone", "--quiet", "--no-hardlinks", bundle, d.work); err != nil {
		return missing("%s is neither a folder nor a Git bundle: %v", w.From, err)
	}
	if w.At == "" {
		return nil
	}
	if _, err := d.gitIn(ctx, d.work, "checkout", "--quiet", "--detach", w.At); err != nil {
		return missing("the bundle %s has no commit %s", w.From, w.At)
	}
	return nil
}

func missing(format string, args ...any) error {
	return batch.NewError(batch.BadInput, fmt.Sprintf("workspace: "+format, args...))
}

// copyBundle copies a bundle out of the root, because git follows symbolic links.
func (d *folder) copyBundle(r *os.Root, name string) (string, error) {
	from, err := r.Open(name)
	if err != nil {
		return "", missing("%s below the worker's --tools-root cannot be read", name)
	}
	defer func() { _ = from.Close() }()
	path := filepath.Join(d.path, "bundle")
	to, err := os.Create(path)
	if err != nil {
		return "", fmt.Errorf("copy the bundle %s: %w", name, err)
	}
	_, err = io.Copy(to, from)
	if err = errors.Join(err, to.Close()); err != nil {
		return "", fmt.Errorf("copy the bundle %s: %w", name, err)
	}
	return path, nil
}

// gitIn runs git without the settings of the user and of the system, and without hooks.
func (d *folder) gitIn(ctx context.Context, dir string, args ...string) (string, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return "", batch.NewError(batch.ProgramFailed, "workspace: there is no git on this machine")
	}
	return Process{
		Argv: append([]string{git, "-c", "core.hooksPath=/dev/null", "-c", "user.name=batchagent", "-c", "user.email=batchagent@localhost"}, args...),
		Env:  []string{"PATH=" + os.Getenv("PATH"), "HOME=" + d.temp, "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0"},
		Dir:  dir,
	}.Run(ctx)
}

// recordState records the state of the working folder before the program, in a repository outside of it.
func (d *folder) recordState(ctx context.Context) error {
	for _, args := range [][]string{{"init", "--quiet"}, {"add", "--all"}, {"commit", "--quiet", "--allow-empty", "--message", "before"}} {
		if _, err := d.gitIn(ctx, d.work, append([]string{"--git-dir=" + d.git, "--work-tree=" + d.work}, args...)...); err != nil {
			return fmt.Errorf("record the state of the working folder: %w", err)
		}
	}
	return nil
}

// diff returns the changes since recordState.
func (d *folder) diff(ctx context.Context) (string, error) {
	at := []string{"--git-dir=" + d.git, "--work-tree=" + d.work}
	if _, err := d.gitIn(ctx, d.work, append(slices.Clone(at), "add", "--all")...); err != nil {
		return "", fmt.Errorf("find the changes of the working folder: %w", err)
	}
	show := append(slices.Clone(at), "diff", "--cached", "--no-color", "--binary")
	text, err := d.gitIn(ctx, d.work, show...)
	if err == nil && !utf8.ValidString(text) { // git takes a file without NUL bytes for text
		if err = os.WriteFile(filepath.Join(d.git, "info", "attributes"), []byte("* binary\n"), 0o600); err == nil {
			text, err = d.gitIn(ctx, d.work, show...)
		}
	}
	if err != nil {
		return "", fmt.Errorf("find the changes of the working folder: %w", err)
	}
	if len(text) > maxDiff {
		return "", batch.NewError(batch.ProgramFailed, fmt.Sprintf("the changes of the working folder have %d bytes; at most %d fit into a result", len(text), maxDiff))
	}
	return text, nil
}

// collect reads the files that match the patterns, in the order of the patterns and names.
func (d *folder) collect(patterns []string) (map[string]batch.File, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	root, err := os.OpenRoot(d.work) // a link that leads out of the folder is not followed
	if err != nil {
		return nil, fmt.Errorf("collect files: %w", err)
	}
	defer func() { _ = root.Close() }()
	out, room := map[string]batch.File{}, maxFiles
	for _, pattern := range patterns {
		names, err := fs.Glob(root.FS(), pattern)
		if err != nil {
			return nil, fmt.Errorf("collect %s: %w", pattern, err)
		}
		for _, name := range names {
			if _, known := out[name]; known {
				continue
			}
			f, ok := collectFile(root, name, min(maxFile, room))
			if !ok {
				continue
			}
			room -= len(f.Text) + len(f.Base64)
			out[name] = f
		}
	}
	return out, nil
}

// collectFile reads the beginning of a regular file.
func collectFile(root *os.Root, name string, most int) (batch.File, bool) {
	info, err := root.Stat(name)
	if err != nil || !info.Mode().IsRegular() { // to open a named pipe would wait for ever
		return batch.File{}, false
	}
	f, err := root.Open(name)
	if err != nil {
		return batch.File{}, false
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, int64(most)))
	if err != nil {
		return batch.File{}, false
	}
	out := batch.File{Size: info.Size(), Cut: int64(len(data)) < info.Size()}
	if text := strings.ToValidUTF8(string(data), ""); len(data)-len(text) < utf8.UTFMax && (out.Cut || len(text) == len(data)) {
		out.Text = text // only a character at the cut is left out
	} else {
		out.Base64 = data
	}
	return out, true
}

// readAnswer reads the file with the program's answer.
func (d *folder) readAnswer(name string) (string, error) {
	root, err := os.OpenRoot(d.work)
	if err != nil {
		return "", fmt.Errorf("read the answer: %w", err)
	}
	defer func() { _ = root.Close() }()
	if info, err := root.Stat(name); err != nil || !info.Mode().IsRegular() { // to open a named pipe would wait for ever
		return "", batch.NewError(batch.ProgramFailed, fmt.Sprintf("the program ended without its answer: there is no file %s", name))
	}
	f, err := root.Open(name)
	if err != nil {
		return "", batch.NewError(batch.ProgramFailed, fmt.Sprintf("the answer in %s cannot be read", name))
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxAnswer+1))
	switch {
	case err != nil:
		return "", batch.NewError(batch.ProgramFailed, fmt.Sprintf("the answer in %s cannot be read", name))
	case len(data) > maxAnswer:
		return "", batch.NewError(batch.ProgramFailed, fmt.Sprintf("the answer in %s has more than %d MiB", name, maxAnswer>>20))
	}
	return string(data), nil
}

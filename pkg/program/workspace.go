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

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
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

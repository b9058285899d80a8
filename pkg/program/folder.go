package program

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const (
	rootPattern = "batchagent-programs-"
	lockName    = "lock"
)

// Folders makes the folders of attempts. Safe for concurrent use.
type Folders struct {
	root string
	lock *os.File // held while this process lives, so that another one does not remove the root
}

// OpenFolders makes a root below dir, which defaults to the system's folder for temporary files. It removes the roots of processes
// that were killed.
func OpenFolders(dir string) (*Folders, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	old, _ := filepath.Glob(filepath.Join(dir, rootPattern+"*")) // the pattern is valid
	for _, root := range old {
		removeStale(root)
	}
	root, err := os.MkdirTemp(dir, rootPattern)
	if err != nil {
		return nil, fmt.Errorf("make the folder of programs: %w", err)
	}
	lock, err := lockRoot(root)
	if err != nil {
		_ = os.RemoveAll(root)
		return nil, fmt.Errorf("lock the folder of programs: %w", err)
	}
	return &Folders{root, lock}, nil
}

// Close removes the root and all that is left in it.
func (f *Folders) Close() error {
	return errors.Join(os.RemoveAll(f.root), f.lock.Close())
}

func lockRoot(root string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(root, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// removeStale removes a root whose process is gone. A root that is locked, or that belongs to another user, stays.
func removeStale(root string) {
	if _, err := os.Stat(filepath.Join(root, lockName)); err != nil {
		return // it is being made
	}
	if f, err := lockRoot(root); err == nil {
		_ = os.RemoveAll(root)
		_ = f.Close()
	}
}

// folder is the folder of one attempt.
type folder struct {
	path string
	work string // the program's working folder
	job  string // the description of the job
	temp string // the program's temporary files
	git  string // the repository that records the state before the program; made on demand
}

func (f *Folders) open() (*folder, error) {
	path, err := os.MkdirTemp(f.root, "job-")
	if err != nil {
		return nil, fmt.Errorf("make the folder of a job: %w", err)
	}
	d := &folder{path: path, work: filepath.Join(path, "work"), job: filepath.Join(path, "job"), temp: filepath.Join(path, "tmp"), git: filepath.Join(path, "git")}
	for _, dir := range []string{d.work, d.job, d.temp} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			d.remove()
			return nil, fmt.Errorf("make the folder of a job: %w", err)
		}
	}
	return d, nil
}

// remove removes the folder. A program may have taken its own rights away.
func (d *folder) remove() {
	if os.RemoveAll(d.path) == nil {
		return
	}
	_ = filepath.WalkDir(d.path, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			_ = os.Chmod(path, 0o700) //nolint:gosec // a folder that is removed
		}
		return nil
	})
	_ = os.RemoveAll(d.path)
}

// Socket returns the path of a Unix socket below the root, for the URLs of jobs.
func (f *Folders) Socket() string { return filepath.Join(f.root, "gateway") }

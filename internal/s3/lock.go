package s3

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// fileLock is an exclusive lock of a file that exists while it is locked. It ends with the process.
type fileLock struct{ file *os.File }

// errLocked: another process has the lock.
var errLocked = errors.New("locked by another process")

func lockFile(path string) (*fileLock, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			if errors.Is(err, syscall.EWOULDBLOCK) {
				err = errLocked
			}
			return nil, errors.Join(err, f.Close())
		}
		own, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		// The previous holder may have removed the file after it was opened here.
		switch now, err := os.Stat(path); {
		case err == nil && os.SameFile(own, now):
			return &fileLock{f}, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return nil, errors.Join(err, f.Close())
		}
		_ = f.Close()
	}
}

// unlock removes the file and releases the lock.
func (l *fileLock) unlock() error {
	err := os.Remove(l.file.Name())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	_ = syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN) // a child that starts now has a copy of the descriptor until it calls exec
	return errors.Join(err, l.file.Close())
}

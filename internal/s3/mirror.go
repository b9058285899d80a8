package s3

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/batchagent/batchagent/internal/fault"
)

// Mirror is a local folder with copies of an object and of the objects beside it. A command works on the copies, and uploads them at its
// end. If the command is killed, the folder stays, and the next command continues with it.
type Mirror struct {
	client   *Client
	dir      string
	lock     *os.File
	names    map[string]Name        // by file in dir
	versions map[string]string      // of the objects, by file; "" for a missing object
	fresh    map[string]fs.FileInfo // of the copies that this Mirror made, by file
}

// versionsFile holds the versions that the copies in a folder came from.
const versionsFile = ".versions.json"

// Mirror copies an object and those beside it, whose names have these endings, to a folder in root. The caller closes the Mirror.
func (c *Client) Mirror(ctx context.Context, root string, n Name, endings ...string) (_ *Mirror, err error) {
	sum := sha256.Sum256([]byte(c.Endpoint() + " " + n.String()))
	m := &Mirror{client: c, dir: filepath.Join(root, fmt.Sprintf("%x", sum[:12])), names: map[string]Name{}, versions: map[string]string{}, fresh: map[string]fs.FileInfo{}}
	for _, ending := range append([]string{""}, endings...) {
		m.names[path.Base(n.Key)+ending] = Name{n.Bucket, n.Key + ending}
	}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a folder for the copy of %s: %w", n, err)
	}
	if m.lock, err = os.OpenFile(m.dir+".lock", os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, fmt.Errorf("lock the copy of %s: %w", n, err)
	}
	switch err := syscall.Flock(int(m.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, errors.Join(fault.Usagef("%s: another command on this machine writes to it; wait until it has ended, or name another object", n), m.lock.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock the copy of %s: %w", n, err), m.lock.Close())
	}
	text, err := os.ReadFile(filepath.Join(m.dir, versionsFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err = m.download(ctx); err != nil {
			err = errors.Join(err, os.RemoveAll(m.dir))
		}
	case err == nil && json.Unmarshal(text, &m.versions) == nil:
		err = m.resume(ctx)
	default: // the copies may be results that were not uploaded
		err = fault.Usagef("%s: it is not known which object the copy in %s came from; move this folder away, and look at the results in it", n, m.dir)
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// Path returns the local copy of the object.
func (m *Mirror) Path() string { return filepath.Join(m.dir, m.files()[0]) }

// files returns the files in the order of their names: the object is first.
func (m *Mirror) files() []string { return slices.Sorted(maps.Keys(m.names)) }

// download copies the objects. It records their versions last, so that a download that is killed starts over.
func (m *Mirror) download(ctx context.Context) error {
	for _, file := range m.files() {
		version, err := m.fetch(ctx, file)
		if err != nil && !errors.Is(err, ErrNotExist) {
			return err
		}
		m.versions[file] = version
	}
	return m.record()
}

func (m *Mirror) fetch(ctx context.Context, file string) (version string, err error) {
	local := filepath.Join(m.dir, file)
	f, err := os.Create(local)
	if err != nil {
		return "", fmt.Errorf("copy %s: %w", m.names[file], err)
	}
	version, err = m.client.Fetch(ctx, m.names[file], f)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(local))
	}
	m.fresh[file], err = os.Stat(local)
	return version, err
}

// resume checks that the objects are those that the copies came from, or the copies themselves.
func (m *Mirror) resume(ctx context.Context) error {
	for _, file := range m.files() {
		name := m.names[file]
		now, err := m.client.Version(ctx, name)
		if errors.Is(err, ErrNotExist) {
			now, err = "", nil
		}
		if err != nil {
			return err
		}
		if now == m.versions[file] {
			continue
		}
		if now != "" {
			if ours, err := m.holds(ctx, file); err != nil {
				return err
			} else if ours != "" { // the upload was killed before it was recorded
				m.versions[file] = ours
				continue
			}
		}
		return fault.Usagef("%s was changed since a command here copied it; the results of that command are in %s: "+
			"move this folder away to continue with the object, or name another object", name, m.dir)
	}
	return m.record()
}

// holds returns the version of the object of a file if it has the content of the file.
func (m *Mirror) holds(ctx context.Context, file string) (string, error) {
	f, size, err := m.open(file)
	if f == nil || err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	return m.client.Holds(ctx, m.names[file], f, size)
}

// open opens a file in the folder. It returns nil for a missing one.
func (m *Mirror) open(file string) (*os.File, int64, error) {
	f, err := os.Open(filepath.Join(m.dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// record writes the versions to disk.
func (m *Mirror) record() error {
	text, err := json.Marshal(m.versions)
	if err != nil {
		return fmt.Errorf("encode versions: %w", err)
	}
	to := filepath.Join(m.dir, versionsFile)
	f, err := os.OpenFile(to+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("record versions: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil { // a crash must not leave an empty file
		return fmt.Errorf("record versions: %w", err)
	}
	return os.Rename(to+".new", to)
}

// Upload writes the copies to the store and removes the folder. Records are first, so that a table is never newer than its record.
// After an error the folder stays, and the next command continues with it.
func (m *Mirror) Upload(ctx context.Context) error {
	for _, file := range slices.Backward(m.files()) {
		if err := m.upload(ctx, file); err != nil {
			return fmt.Errorf("%w; the results so far are in %s, and the command with --resume uploads them", err, m.dir)
		}
	}
	return os.RemoveAll(m.dir)
}

func (m *Mirror) upload(ctx context.Context, file string) error {
	f, size, err := m.open(file)
	if f == nil || err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	if old := m.fresh[file]; old != nil {
		if now, err := f.Stat(); err == nil && now.Size() == old.Size() && now.ModTime().Equal(old.ModTime()) && os.SameFile(now, old) {
			return nil // the command did not change it
		}
	}
	only := Condition{Version: m.versions[file], Absent: m.versions[file] == ""}
	version, err := m.client.Store(ctx, m.names[file], f, size, only)
	if errors.Is(err, ErrChanged) {
		return fault.Usagef("%s was changed by another program meanwhile, and is not replaced", m.names[file])
	}
	if err != nil {
		return err
	}
	m.versions[file] = version
	return m.record()
}

// Close unlocks the folder.
func (m *Mirror) Close() error {
	_ = syscall.Flock(int(m.lock.Fd()), syscall.LOCK_UN)
	return m.lock.Close()
}

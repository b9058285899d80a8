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

	"github.com/batchagent/batchagent/internal/fault"
)

// Mirror is a local folder with copies of an object and of the objects beside it. A command works on the copies, and uploads them at its
// end. If the command is killed, the folder stays, and the next command continues with it.
type Mirror struct {
	client *Client
	dir    string
	lock   *fileLock
	names  map[string]Name // by file in dir
	origin origin
	fresh  map[string]fs.FileInfo // of the copies that this Mirror made, by file
}

// origin describes the objects that the copies in a folder came from.
type origin struct {
	Versions map[string]string // of the objects, by file; "" for a missing object
	Removed  map[string]bool   // the command removed the copy, and the object follows
}

// originFile holds the origin of the copies in a folder.
const originFile = ".origin.json"

// Mirror copies an object and those beside it, whose names have these endings, to a folder in root. The caller closes the Mirror.
func (c *Client) Mirror(ctx context.Context, root string, n Name, endings ...string) (_ *Mirror, err error) {
	sum := sha256.Sum256([]byte(c.Endpoint() + " " + n.String()))
	m := &Mirror{
		client: c, dir: filepath.Join(root, fmt.Sprintf("%x", sum[:12])), names: map[string]Name{}, fresh: map[string]fs.FileInfo{},
		origin: origin{map[string]string{}, map[string]bool{}},
	}
	for _, ending := range append([]string{""}, endings...) {
		m.names[path.Base(n.Key)+ending] = Name{n.Bucket, n.Key + ending}
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("make a folder for the copy of %s: %w", n, err)
	}
	m.lock, err = lockFile(m.dir + ".lock")
	switch {
	case errors.Is(err, errLocked):
		return nil, fault.Usagef("%s: another command on this machine writes to it; wait until it has ended, or name another object", n)
	case err != nil:
		return nil, fmt.Errorf("lock the copy of %s: %w", n, err)
	}
	if err := m.fill(ctx, n); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// fill copies the objects, or checks the copies of an earlier command.
func (m *Mirror) fill(ctx context.Context, n Name) error {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return fmt.Errorf("make a folder for the copy of %s: %w", n, err)
	}
	text, err := os.ReadFile(filepath.Join(m.dir, originFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := m.download(ctx); err != nil {
			return errors.Join(err, os.RemoveAll(m.dir))
		}
		return nil
	case err == nil && json.Unmarshal(text, &m.origin) == nil:
		return m.resume(ctx)
	default: // the copies may be results that were not uploaded
		return fault.Usagef("%s: it is not known which object the copy in %s came from; move this folder away, and look at the results in it", n, m.dir)
	}
}

// Path returns the local copy of the object.
func (m *Mirror) Path() string { return filepath.Join(m.dir, m.files()[0]) }

// files returns the files in the order of their names: the object is first.
func (m *Mirror) files() []string { return slices.Sorted(maps.Keys(m.names)) }

// download copies the objects. It records their versions last, so that a download that is killed starts over.
func (m *Mirror) download(ctx context.Context) error {
	for _, file := range m.files() {
		if err := m.fetch(ctx, file); err != nil {
			return err
		}
	}
	return m.record()
}

// fetch copies an object that may be missing.
func (m *Mirror) fetch(ctx context.Context, file string) error {
	local := filepath.Join(m.dir, file)
	f, err := os.Create(local + ".new")
	if err != nil {
		return fmt.Errorf("copy %s: %w", m.names[file], err)
	}
	version, err := m.client.Fetch(ctx, m.names[file], f)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), local)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
		if errors.Is(err, ErrNotExist) {
			m.origin.Versions[file], err = "", nil
		}
		return err
	}
	m.origin.Versions[file] = version
	m.fresh[file], err = os.Stat(local)
	return err
}

// resume checks that the objects are those that the copies came from, or the copies themselves.
func (m *Mirror) resume(ctx context.Context) error {
	for _, file := range m.files() {
		if err := m.resumeFile(ctx, file); err != nil {
			return err
		}
	}
	return m.record()
}

func (m *Mirror) resumeFile(ctx context.Context, file string) error {
	name, was := m.names[file], m.origin.Versions[file]
	now, err := m.client.Version(ctx, name)
	if errors.Is(err, ErrNotExist) {
		now, err = "", nil
	}
	switch {
	case err != nil:
		return err
	case now == was && now != "" && m.missing(file) && !m.origin.Removed[file]:
		return m.fetch(ctx, file) // the copy was removed from the cache
	case now == was:
		return nil
	case now == "" && m.origin.Removed[file]:
		m.origin.Versions[file] = ""
		return nil
	case now != "":
		if ours, err := m.holds(ctx, file); err != nil {
			return err
		} else if ours != "" { // the upload was killed before it was recorded
			m.origin.Versions[file] = ours
			return nil
		}
	}
	return fault.Usagef("%s was changed since a command here copied it; the results of that command are in %s: "+
		"move this folder away to continue with the object, or name another object", name, m.dir)
}

func (m *Mirror) missing(file string) bool {
	_, err := os.Lstat(filepath.Join(m.dir, file))
	return errors.Is(err, fs.ErrNotExist)
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

// record writes the origin to disk.
func (m *Mirror) record() error {
	text, err := json.Marshal(m.origin)
	if err != nil {
		return fmt.Errorf("encode versions: %w", err)
	}
	to := filepath.Join(m.dir, originFile)
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

// Upload writes the copies to the store, removes objects whose copies the command removed, and then removes the folder. Records are
// written first, so that a table is never newer than its record. They are removed last, so that no result exists only here.
// After an error the folder stays, and the next command continues with it.
func (m *Mirror) Upload(ctx context.Context) error {
	if err := m.upload(ctx); err != nil {
		return fmt.Errorf("%w; the results so far are in %s, and the command with --resume uploads them", err, m.dir)
	}
	return os.RemoveAll(m.dir)
}

func (m *Mirror) upload(ctx context.Context) error {
	object := m.files()[0]
	if m.missing(object) && m.origin.Versions[object] != "" {
		return fault.Usagef("%s is unchanged, because its copy in %s was removed while the command ran", m.names[object], m.dir)
	}
	var removed []string
	m.origin.Removed = map[string]bool{}
	for _, file := range m.files() {
		if m.missing(file) && m.origin.Versions[file] != "" {
			removed = append(removed, file)
			m.origin.Removed[file] = true
		}
	}
	if err := m.record(); err != nil {
		return err
	}
	for _, file := range slices.Backward(m.files()) {
		if err := m.uploadFile(ctx, file); err != nil {
			return err
		}
	}
	for _, file := range removed {
		err := m.client.Remove(ctx, m.names[file], m.origin.Versions[file])
		if errors.Is(err, ErrChanged) {
			return fault.Usagef("%s was changed by another program meanwhile, and is not removed", m.names[file])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *Mirror) uploadFile(ctx context.Context, file string) error {
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
	was := m.origin.Versions[file]
	version, err := m.client.Store(ctx, m.names[file], f, size, Condition{Version: was, Absent: was == ""})
	if errors.Is(err, ErrChanged) {
		return fault.Usagef("%s was changed by another program meanwhile, and is not replaced", m.names[file])
	}
	if err != nil {
		return err
	}
	m.origin.Versions[file] = version
	return m.record()
}

// Close unlocks the folder.
func (m *Mirror) Close() error { return m.lock.unlock() }

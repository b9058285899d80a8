package strictyaml

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// MaxBytes limits a file.
const MaxBytes = 4 << 20

// ReadFile reads a YAML file and calls read with its top node. It returns all mistakes at once, as [Errors].
func ReadFile(path string, names Names, read func(r *Reader, top Node)) error {
	data, err := ReadBounded(path, MaxBytes)
	if err != nil {
		return Errors{{File: path, Message: err.Error(), Cause: err}}
	}
	r, top := Parse(path, data, names)
	if top != nil {
		read(r, top)
	}
	return r.Errs.OrNil()
}

// ReadBounded reads a regular file of at most limit bytes. Other files are refused without reading them: a pipe would
// block.
func ReadBounded(file string, limit int64) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, WithoutPath(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(file) //nolint:gosec // the user names the file
	if err != nil {
		return nil, WithoutPath(err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, WithoutPath(err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("the file is larger than %d MiB", limit>>20)
	}
	return data, nil
}

// WithoutPath drops the path from a file error, for messages that name the file themselves.
func WithoutPath(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

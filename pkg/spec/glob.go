package spec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
)

// globSource is the regular files under a folder whose paths match a pattern, folder by folder in the order of their
// names. Symbolic links are not followed, and names that begin with a dot are left out. Nothing but the folder being
// read is held in memory.
type globSource struct {
	root    string   // absolute: where the walk starts
	pattern string   // relative to root, with slashes
	base    string   // absolute: what exclude is relative to
	exclude []string // patterns with slashes
	// pathFrom is what the field "path" is relative to.
	pathFrom string
}

// Fields of the inputs of a glob.
const (
	pathField    = "path"
	nameField    = "name"
	contentField = "content"
)

func (s *globSource) read(ctx context.Context, want func(string) bool) iter.Seq2[Input, error] {
	return func(yield func(Input, error) bool) {
		err := s.walk(ctx, func(file string, _ fs.DirEntry) error {
			if !yield(s.input(file, want(contentField)), nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(Input{}, err)
		}
	}
}

func (s *globSource) input(file string, withContent bool) Input {
	shown := filepath.ToSlash(relative(s.pathFrom, file))
	in := Input{Where: shown, Fields: map[string]any{pathField: shown, nameField: filepath.Base(file)}}
	if !utf8.ValidString(shown) {
		in.Bad = "the file's name is not UTF-8 text"
		return in
	}
	if !withContent {
		// Present, so that the field counts as known, but not worth reading the file for.
		in.Fields[contentField] = ""
		return in
	}
	content, err := readBounded(file, maxContentBytes)
	switch {
	case err != nil:
		in.Bad = err.Error()
	case !utf8.Valid(content):
		in.Bad = errNotUTF8.Error()
	default:
		in.Fields[contentField] = strings.TrimPrefix(string(content), "\uFEFF")
	}
	return in
}

func (s *globSource) identify(ctx context.Context, w io.Writer) error {
	return s.walk(ctx, func(file string, entry fs.DirEntry) error {
		info, err := entry.Info()
		if err != nil {
			return fmt.Errorf("identify inputs: %w", err)
		}
		_, err = fmt.Fprintf(w, "glob %q %d %d\n", file, info.Size(), info.ModTime().UnixNano())
		return err
	})
}

// walk calls f with the absolute path of each matching file. It ends early, without error, when f returns fs.SkipAll.
func (s *globSource) walk(ctx context.Context, f func(file string, entry fs.DirEntry) error) error {
	return fs.WalkDir(os.DirFS(s.root), ".", func(rel string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("list inputs under %s: %w", s.root, err)
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if rel == "." {
			return nil
		}
		file := filepath.Join(s.root, filepath.FromSlash(rel))
		if strings.HasPrefix(path.Base(rel), ".") || s.excluded(file) {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() || !doublestar.MatchUnvalidated(s.pattern, rel) {
			return nil
		}
		return f(file, entry)
	})
}

func (s *globSource) excluded(file string) bool {
	rel := filepath.ToSlash(relative(s.base, file))
	for _, pattern := range s.exclude {
		if doublestar.MatchUnvalidated(pattern, rel) {
			return true
		}
	}
	return false
}

// relative is target as seen from dir, or target itself if there is no such way.
func relative(dir, target string) string {
	rel, err := filepath.Rel(dir, target)
	if err != nil {
		return target
	}
	return rel
}

// within reports whether dir is outer or lies under it.
func within(outer, dir string) bool {
	rel, err := filepath.Rel(outer, dir)
	return err == nil && filepath.IsLocal(rel)
}

// readBounded reads a regular file of at most limit bytes. Anything else is refused unread: a pipe would block.
func readBounded(file string, limit int64) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, bare(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(file) //nolint:gosec // the user names the files of a spec
	if err != nil {
		return nil, bare(err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, bare(err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("the file is larger than %d MiB", limit>>20)
	}
	return data, nil
}

// bare drops the path from a file error, for messages that name the file in their own way.
func bare(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

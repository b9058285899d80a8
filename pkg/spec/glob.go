package spec

import (
	"bytes"
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

	"github.com/batchagent/batchagent/pkg/strictyaml"
)

// globSource finds the regular files under a folder with paths that match a pattern. It visits the folders in the order
// of their names. Names that begin with a dot are skipped. Only the folder that is being read is held in memory.
//
// A symbolic link to a file under pathFrom is an input like a file. A link to a file elsewhere is an error of the
// source, because workers could not read it. A broken link is a bad input. Links to folders are not followed; they are
// noted if something under them could match.
type globSource struct {
	root    string   // absolute path of the folder where the walk starts
	pattern string   // relative to root, with slashes
	written string   // the pattern as written in the spec
	base    string   // absolute path that exclude is relative to
	exclude []string // patterns with slashes
	// pathFrom is the folder that the field "path" is relative to. A link may lead to files under it.
	pathFrom string
	notes
}

// Fields of the inputs of a glob.
const (
	pathField    = "path"
	nameField    = "name"
	contentField = "content"
)

func (s *globSource) read(ctx context.Context, want func(string) bool) iter.Seq2[Input, error] {
	return func(yield func(Input, error) bool) {
		count := 0
		err := s.walk(ctx, func(file string, bad error) error {
			in := s.named(file)
			count++
			if bad != nil && in.Bad == "" {
				in.Bad = bad.Error()
			} else if in.Bad == "" {
				s.readContent(&in, file, want(contentField))
			}
			if !yield(in, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(Input{}, err)
		} else if count == 0 {
			s.note(s.noMatch())
		}
	}
}

// noMatch returns the error for a pattern without a match.
func (s *globSource) noMatch() string {
	text := fmt.Sprintf("no file matches %q in %s", s.pattern, s.root)
	literal := filepath.FromSlash(s.written)
	if !filepath.IsAbs(literal) {
		literal = filepath.Join(s.base, literal)
	}
	if info, err := os.Stat(literal); err == nil && info.Mode().IsRegular() && strings.ContainsAny(s.written, "[{?") {
		text += fmt.Sprintf("; a file has exactly this name, so escape the pattern characters: %q", escapeGlob.Replace(s.written))
	}
	return text
}

var escapeGlob = strings.NewReplacer("[", `\[`, "]", `\]`, "{", `\{`, "}", `\}`, "?", `\?`)

// named returns the input of a file, without its content.
func (s *globSource) named(file string) Input {
	shown := filepath.ToSlash(relative(s.pathFrom, file))
	in := Input{Where: shown, Fields: map[string]any{pathField: shown, nameField: filepath.Base(file)}}
	if !utf8.ValidString(shown) {
		in.Bad = "the file's name is not UTF-8 text"
	}
	return in
}

func (s *globSource) readContent(in *Input, file string, wanted bool) {
	if !wanted {
		// Set the field, so that it counts as known, without reading the file.
		in.Fields[contentField] = ""
		return
	}
	content, err := strictyaml.ReadBounded(file, maxContentBytes)
	switch {
	case err != nil:
		in.Bad = err.Error()
	case !utf8.Valid(content):
		in.Bad = errNotUTF8.Error()
	case bytes.IndexByte(content, 0) >= 0:
		in.Bad = errNUL.Error()
	default:
		in.Fields[contentField] = strings.TrimPrefix(string(content), "\uFEFF")
	}
}

func (s *globSource) identify(ctx context.Context, w io.Writer) error {
	return s.walk(ctx, func(file string, bad error) error {
		if bad != nil {
			_, err := fmt.Fprintf(w, "glob %q: %v\n", file, bad)
			return err
		}
		info, err := os.Stat(file)
		if err != nil {
			return fmt.Errorf("identify inputs: %w", err)
		}
		_, err = fmt.Fprintf(w, "glob %q %d %d\n", file, info.Size(), info.ModTime().UnixNano())
		return err
	})
}

// walk calls f with the absolute path of each matching file. For a matching link without a usable file, bad is the
// reason. It ends early without an error if f returns fs.SkipAll.
func (s *globSource) walk(ctx context.Context, f func(file string, bad error) error) error {
	s.texts = nil
	var outside, folders linkCount
	matches := 0
	ended := false
	visit := func(file string, bad error) error {
		matches++
		err := f(file, bad)
		ended = errors.Is(err, fs.SkipAll)
		return err
	}
	inside := realPath(s.pathFrom)
	err := fs.WalkDir(os.DirFS(s.root), ".", func(rel string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("list inputs under %s: %w; to skip a folder, name it in exclude", s.root, err)
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if rel == "." {
			return nil
		}
		file := filepath.Join(s.root, filepath.FromSlash(rel))
		skipped := strings.HasPrefix(path.Base(rel), ".") || s.excluded(file)
		if entry.IsDir() {
			if skipped || !mayMatchBelow(s.pattern, rel) {
				return fs.SkipDir
			}
			return nil
		}
		if skipped {
			return nil
		}
		matching := doublestar.MatchUnvalidated(s.pattern, rel)
		switch {
		case entry.Type().IsRegular() && matching:
			return visit(file, nil)
		case entry.Type()&fs.ModeSymlink == 0:
			return nil
		}
		kind, target, bad := followLink(file, inside)
		switch {
		case kind == linkToFolder && mayMatchBelow(s.pattern, rel):
			folders.add(relative(s.root, file), target)
		case kind == linkToFolder || !matching:
		case kind == linkOutside:
			outside.add(relative(s.root, file), target)
		case kind == linkBroken:
			return visit(file, bad)
		case kind == linkToFile:
			return visit(file, nil)
		}
		return nil
	})
	if err != nil || ended {
		return err
	}
	if folders.n > 0 {
		s.note(fmt.Sprintf("%s not followed under %s, for example %s; name the folders that they lead to in patterns of their own", folders.of("link to a folder was", "links to folders were"), s.root, folders.first))
	}
	if outside.n > 0 {
		return fmt.Errorf("%s of %d matching files under %s lead out of %s, for example %s; set root: to a folder that holds the links and their files, or copy the files (cp -rL)",
			outside.of("symbolic link", "symbolic links"), matches+outside.n, s.root, s.pathFrom, outside.first)
	}
	return nil
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

// relative returns target as seen from dir, or target itself if it has no relative path.
func relative(dir, target string) string {
	rel, err := filepath.Rel(dir, target)
	if err != nil {
		return target
	}
	return rel
}

// within reports whether dir is outer or a folder below it.
func within(outer, dir string) bool {
	rel, err := filepath.Rel(outer, dir)
	return err == nil && filepath.IsLocal(rel)
}

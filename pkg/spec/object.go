package spec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// objectScheme begins the name of an object.
const objectScheme = "s3://"

// objectSource is an object of inputs. The first read copies it to a temporary file, because inputs are read twice and a Parquet file is
// read at any place. It is not safe for concurrent use.
type objectSource struct {
	url       string
	fetch     func(ctx context.Context, url string, w io.Writer) (version string, err error)
	format    format
	delimiter rune // of CSV; 0 detects it
	packed    compression
	notes

	copied  *os.File // has no name, so that it ends with the process; nil until the first read
	size    int64
	version string
}

// objectInputs returns an object of inputs. The format is that of its extension unless the spec names one.
func (l *loader) objectInputs(field string, n ast.Node, url, named string, delimiter rune) source {
	switch {
	case l.sent:
		l.Failf(n, field, "names %q, which the server would read with its own credentials; read the object yourself, and send the inputs after the spec", url)
		return nil
	case l.object == nil:
		l.Failf(n, field, "names %q, and objects cannot be read here; copy it to a file", url)
		return nil
	case strings.ContainsAny(url, "*[{"):
		l.Failf(n, field, "is a pattern, and patterns match files only; name one object")
		return nil
	}
	src := &objectSource{url: url, fetch: l.object, format: format(named), delimiter: delimiter}
	var ext string
	ext, src.packed = extensionsOf(url)
	if named == "" {
		src.format = formatOf(ext)
	} else if !l.checkFormat("inputs.format", n, named) {
		return nil
	}
	if src.format == "" {
		l.Failf(n, field, "the extension of %q names no format; write {file: %s, format: %s}", url, url, strings.Join(formats, "|"))
		return nil
	}
	if !l.checkDelimiter(field, n, src.format, delimiter) {
		return nil
	}
	if (ext == extTSV || ext == extTab) && delimiter == 0 && src.format == formatCSV {
		src.delimiter = '\t'
	}
	return src
}

func (s *objectSource) read(ctx context.Context, _ func(string) bool) iter.Seq2[Input, error] {
	return func(yield func(Input, error) bool) {
		if err := s.copyOnce(ctx); err != nil {
			yield(Input{}, err)
			return
		}
		var r io.Reader = io.NewSectionReader(s.copied, 0, s.size)
		if s.packed != "" {
			content, err := s.packed.expand(r, s.size)
			if err != nil {
				yield(Input{}, fmt.Errorf("unpack %s: %w", s.url, err))
				return
			}
			defer content.Close() //nolint:errcheck // nothing was written
			r = content
		}
		s.encoding(s.format, s.delimiter).decode(r, s.url)(yield)
	}
}

func (s *objectSource) identify(ctx context.Context, w io.Writer) error {
	if err := s.copyOnce(ctx); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "object %q %s%s %d %s\n", s.url, s.format, delimiterMark(s.delimiter), s.size, s.version)
	return err
}

// copyOnce copies the object to a temporary file, once.
func (s *objectSource) copyOnce(ctx context.Context) error {
	if s.copied != nil {
		return nil
	}
	f, err := os.CreateTemp("", "batchagent-object-*")
	if err != nil {
		return fmt.Errorf("copy %s: %w", s.url, err)
	}
	err = os.Remove(f.Name())
	if err == nil {
		s.version, err = s.fetch(ctx, s.url, f)
	}
	if err == nil {
		s.size, err = f.Seek(0, io.SeekEnd)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.copied = f
	return nil
}

// close removes the copy.
func (s *objectSource) close() error {
	if s.copied == nil {
		return nil
	}
	err := s.copied.Close()
	s.copied = nil
	return err
}

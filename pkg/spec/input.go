package spec

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
)

// Input is one entry of a batch's inputs: a set of named values, or why it cannot be used.
type Input struct {
	Index  int64          // 0-based position
	Where  string         // "papers.jsonl:12", the path of a file, or "standard input:3"
	Fields map[string]any // a value is a string, bool, json.Number, json.RawMessage (array or object) or nil
	Bad    string         // "" if the input is usable
}

const (
	// maxInputBytes bounds one input: a line, a CSV record, an element of a JSON array.
	maxInputBytes = 16 << 20
	// maxContentBytes bounds the content of one file of a glob.
	maxContentBytes = 1 << 20
)

// source is where inputs come from. It can be read any number of times.
type source interface {
	// read yields the inputs in a fixed order, without Index. An unusable input has Bad set and the next one follows;
	// an error says that the source itself cannot be read, and is the last thing yielded. want says which fields the
	// caller uses, for sources in which a field is expensive.
	read(ctx context.Context, want func(field string) bool) iter.Seq2[Input, error]
	// identify writes to w what changes when the inputs change.
	identify(ctx context.Context, w io.Writer) error
}

// format is how inputs are written in a file or stream.
type format string

const (
	formatJSONL format = "jsonl"
	formatJSON  format = "json"
	formatCSV   format = "csv"
	formatText  format = "text"
)

// formats lists every format in the order in which messages name them.
var formats = []string{string(formatJSONL), string(formatJSON), string(formatCSV), string(formatText)}

// formatOf is the format that a file's extension stands for, or "".
func formatOf(ext string) format {
	switch ext {
	case ".jsonl", ".ndjson":
		return formatJSONL
	case extJSON:
		return formatJSON
	case ".csv":
		return formatCSV
	case ".txt":
		return formatText
	default:
		return ""
	}
}

// decode reads inputs of the format from r; name is what Where calls r.
func (f format) decode(r io.Reader, name string) iter.Seq2[Input, error] {
	return func(yield func(Input, error) bool) {
		br := bufio.NewReaderSize(r, 64<<10)
		if err := skipBOM(br); err != nil {
			yield(Input{}, fmt.Errorf("read %s: %w", name, err))
			return
		}
		switch f {
		case formatCSV:
			decodeCSV(br, name, yield)
		case formatJSON:
			decodeArray(br, name, yield)
		case formatText:
			decodeLines(br, name, yield, decodeTextLine)
		case formatJSONL:
			decodeLines(br, name, yield, decodeFields)
		}
	}
}

// skipBOM drops a UTF-8 byte order mark and refuses the ones of UTF-16.
func skipBOM(br *bufio.Reader) error {
	head, err := br.Peek(3)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if bytes.HasPrefix(head, []byte{0xFF, 0xFE}) || bytes.HasPrefix(head, []byte{0xFE, 0xFF}) {
		return errNotUTF8
	}
	if bytes.Equal(head, []byte("\uFEFF")) {
		_, err = br.Discard(3)
		return err
	}
	return nil
}

// fileSource is a file of inputs.
type fileSource struct {
	path   string // absolute
	shown  string // as messages name it
	format format
}

func (s *fileSource) read(_ context.Context, _ func(string) bool) iter.Seq2[Input, error] {
	return func(yield func(Input, error) bool) {
		f, err := os.Open(s.path)
		if err != nil {
			yield(Input{}, fmt.Errorf("open inputs: %w", err))
			return
		}
		defer f.Close() //nolint:errcheck // nothing was written
		s.format.decode(f, s.shown)(yield)
	}
}

func (s *fileSource) identify(_ context.Context, w io.Writer) error {
	info, err := os.Stat(s.path)
	if err != nil {
		return fmt.Errorf("identify inputs: %w", err)
	}
	_, err = fmt.Fprintf(w, "file %q %s %d %d\n", s.path, s.format, info.Size(), info.ModTime().UnixNano())
	return err
}

// inlineSource is a list of inputs in the spec itself.
type inlineSource []Input

func (s inlineSource) read(_ context.Context, _ func(string) bool) iter.Seq2[Input, error] {
	return func(yield func(Input, error) bool) {
		for _, in := range s {
			if !yield(in, nil) {
				return
			}
		}
	}
}

func (s inlineSource) identify(_ context.Context, w io.Writer) error {
	for _, in := range s {
		line, err := Payload{Input: in.Fields}.encode()
		if err != nil {
			return fmt.Errorf("identify inputs: %w", err)
		}
		if _, err := fmt.Fprintf(w, "inline %s\n", line); err != nil {
			return err
		}
	}
	return nil
}

package spec

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"iter"
	"os"
)

// Input is one input of a batch: a set of named values, or the reason why it cannot be used.
type Input struct {
	Index  int64          // 0-based
	Where  string         // "papers.jsonl:12", the path of a file, or "standard input:3"
	Fields map[string]any // a value is a string, bool, json.Number, json.RawMessage (array or object) or nil
	Bad    string         // "" if the input is usable
	Names  []string       // of the fields as the source orders them; nil sorts them
}

const (
	// maxInputBytes limits one input: a line, a CSV record, an element of a JSON array.
	maxInputBytes = 16 << 20
	// maxContentBytes limits the content of one file of a glob.
	maxContentBytes = 1 << 20
)

// source is a source of inputs. It can be read any number of times.
type source interface {
	// read returns the inputs in a fixed order, without Index. An unusable input has Bad set, and the next input follows. An
	// error means that the source itself cannot be read, and is the last value. want reports which fields the caller uses,
	// for sources with expensive fields.
	read(ctx context.Context, want func(field string) bool) iter.Seq2[Input, error]
	// identify writes data to w that changes when the inputs change.
	identify(ctx context.Context, w io.Writer) error
}

// format is the format of inputs in a file or stream.
type format string

const (
	formatJSONL format = "jsonl"
	formatJSON  format = "json"
	formatCSV   format = "csv"
	formatText  format = "text"

	formatParquet format = "parquet"
)

// formats lists every format in the order used by messages.
var formats = []string{string(formatJSONL), string(formatJSON), string(formatCSV), string(formatText), string(formatParquet)}

// formatOf returns the format of a file's extension, or "".
func formatOf(ext string) format {
	switch ext {
	case ".jsonl", ".ndjson":
		return formatJSONL
	case extJSON:
		return formatJSON
	case ".csv", extTSV, extTab:
		return formatCSV
	case ".txt":
		return formatText
	case ".parquet":
		return formatParquet
	default:
		return ""
	}
}

// encoding describes how inputs are written in a file or stream.
type encoding struct {
	format    format
	delimiter rune         // of CSV; 0 detects it
	note      func(string) // receives messages for the user
}

// decode reads inputs of the format from r. name is the name of r in Where.
func (e encoding) decode(r io.Reader, name string) iter.Seq2[Input, error] {
	return func(yield func(Input, error) bool) {
		if e.format == formatParquet {
			decodeParquet(r, name, yield)
			return
		}
		br := bufio.NewReaderSize(r, sampleSize)
		sample, whole, err := peekText(br)
		if err != nil {
			yield(Input{}, fmt.Errorf("read %s: %w", name, err))
			return
		}
		switch e.format {
		case formatCSV:
			e.decodeCSV(br, sample, whole, name, yield)
		case formatJSON:
			decodeArray(br, name, yield)
		case formatText:
			decodeLines(br, name, yield, decodeTextLine)
		case formatJSONL:
			if err := notPretty(sample); err != nil {
				yield(Input{}, fmt.Errorf("read %s: %w", name, err))
				return
			}
			decodeLines(br, name, yield, decodeFields)
		}
	}
}

// fileSource is a file of inputs.
type fileSource struct {
	path      string // absolute
	shown     string // name in messages
	format    format
	delimiter rune // of CSV; 0 detects it
	packed    compression
	notes
}

func (s *fileSource) read(_ context.Context, _ func(string) bool) iter.Seq2[Input, error] {
	return func(yield func(Input, error) bool) {
		f, err := os.Open(s.path)
		if err != nil {
			yield(Input{}, fmt.Errorf("open inputs: %w", err))
			return
		}
		defer f.Close() //nolint:errcheck // nothing was written
		info, err := f.Stat()
		if err != nil {
			yield(Input{}, fmt.Errorf("open inputs: %w", err))
			return
		}
		var r io.Reader = io.NewSectionReader(f, 0, info.Size())
		if s.packed != "" {
			content, err := s.packed.expand(f, info.Size())
			if err != nil {
				yield(Input{}, fmt.Errorf("unpack %s: %w", s.shown, err))
				return
			}
			defer content.Close() //nolint:errcheck // nothing was written
			r = content
		}
		s.encoding(s.format, s.delimiter).decode(r, s.shown)(yield)
	}
}

func (s *fileSource) identify(_ context.Context, w io.Writer) error {
	info, err := os.Stat(s.path)
	if err != nil {
		return fmt.Errorf("identify inputs: %w", err)
	}
	_, err = fmt.Fprintf(w, "file %q %s%s %d %d\n", s.path, s.format, delimiterMark(s.delimiter), info.Size(), info.ModTime().UnixNano())
	return err
}

// delimiterMark returns the part of an identity for a given delimiter.
func delimiterMark(d rune) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprintf(" delimiter %q", d)
}

// notes holds a source's messages for the user, such as the delimiter of a CSV file. Each read replaces them.
type notes struct{ texts []string }

func (n *notes) note(text string) { n.texts = append(n.texts, text) }

func (n *notes) noted() []string { return n.texts }

// encoding starts a read.
func (n *notes) encoding(f format, delimiter rune) encoding {
	n.texts = nil
	return encoding{format: f, delimiter: delimiter, note: n.note}
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

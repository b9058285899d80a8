package spec

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/batchagent/batchagent/pkg/strictyaml"
)

// textField is the field of an input that is a line of text.
const textField = "line"

func decodeTextLine(line []byte) (fields map[string]any, names []string, err error) {
	if !utf8.Valid(line) {
		return nil, nil, errNotUTF8
	}
	if bytes.IndexByte(line, 0) >= 0 {
		return nil, nil, errNUL
	}
	return map[string]any{textField: string(line)}, nil, nil
}

// decodeLines returns one input per line that is not blank.
func decodeLines(br *bufio.Reader, name string, yield func(Input, error) bool, decode func([]byte) (map[string]any, []string, error)) {
	lines := lineReader{br: br, limit: maxInputBytes}
	for {
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			return
		}
		in := Input{Where: strictyaml.Place(name, lines.number)}
		switch {
		case errors.Is(err, errLineTooLong):
			in.Bad = fmt.Sprintf("the line is longer than %d MiB", maxInputBytes>>20)
		case err != nil:
			yield(Input{}, fmt.Errorf("read %s: %w", in.Where, err))
			return
		case len(bytes.TrimSpace(line)) == 0:
			continue
		default:
			if in.Fields, in.Names, err = decode(line); err != nil {
				in.Bad = err.Error()
			}
		}
		if !yield(in, nil) {
			return
		}
	}
}

// notPretty refuses JSON lines with a first line that only opens a value.
func notPretty(sample []byte) error {
	line, _, _ := bytes.Cut(bytes.TrimLeft(sample, " \t\r\n"), []byte("\n"))
	switch string(bytes.TrimSpace(line)) {
	case "{":
		return errors.New("its first value spans several lines; write one value per line (`jq -c .` does that)")
	case "[":
		return errors.New("it contains a JSON array that spans several lines; name it .json or set format: json")
	}
	return nil
}

var errLineTooLong = errors.New("line too long")

// lineReader reads lines of limited length.
type lineReader struct {
	br     *bufio.Reader
	limit  int
	number int // of the line that next returned last
	buf    []byte
}

// next returns a line without its end, valid until the next call. A line over the limit is skipped and reported as
// errLineTooLong. At the end the error is io.EOF.
func (r *lineReader) next() ([]byte, error) {
	r.buf = r.buf[:0]
	r.number++
	tooLong, some := false, false
	for {
		chunk, err := r.br.ReadSlice('\n')
		some = some || len(chunk) > 0
		if tooLong = tooLong || len(r.buf)+len(chunk) > r.limit; !tooLong {
			r.buf = append(r.buf, chunk...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && !errors.Is(err, io.EOF):
			return nil, err
		case !some:
			return nil, io.EOF
		case tooLong:
			return nil, errLineTooLong
		}
		return bytes.TrimSuffix(bytes.TrimSuffix(r.buf, []byte("\n")), []byte("\r")), nil
	}
}

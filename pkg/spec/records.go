package spec

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// decodeCSV yields one input per record; the first record names the fields.
func decodeCSV(r io.Reader, name string, yield func(Input, error) bool) {
	w := &window{r: r, limit: maxInputBytes}
	cr := csv.NewReader(w)
	cr.ReuseRecord = true
	first, err := cr.Read()
	if errors.Is(err, io.EOF) {
		return
	}
	if err != nil {
		yield(Input{}, fmt.Errorf("read the header of %s: %w", name, err))
		return
	}
	header := slices.Clone(first)
	if err := checkHeader(header); err != nil {
		yield(Input{}, fmt.Errorf("%s: %w", place(name, 1), err))
		return
	}
	for {
		start := cr.InputOffset()
		w.free(start)
		record, err := cr.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		in := Input{Where: name}
		if bad, ok := errors.AsType[*csv.ParseError](err); ok {
			in.Where = place(name, bad.StartLine)
			in.Bad = bad.Err.Error()
			if errors.Is(bad.Err, csv.ErrFieldCount) {
				in.Bad = fmt.Sprintf("the record has %d fields and the header %d", len(record), len(header))
			}
		} else if err != nil {
			yield(Input{}, fmt.Errorf("read %s: %w", place(name, w.lineAt(start)), err))
			return
		} else {
			line, _ := cr.FieldPos(0)
			in.Where = place(name, line)
			in.Fields, in.Bad = csvFields(header, record)
		}
		if !yield(in, nil) {
			return
		}
	}
}

func csvFields(header, record []string) (fields map[string]any, bad string) {
	fields = make(map[string]any, len(header))
	for i, name := range header {
		if !utf8.ValidString(record[i]) {
			return nil, fmt.Sprintf("field %q: %v", name, errNotUTF8)
		}
		fields[name] = record[i]
	}
	return fields, ""
}

func checkHeader(header []string) error {
	for i, name := range header {
		header[i] = strings.TrimSpace(name)
		switch {
		case header[i] == "":
			return fmt.Errorf("column %d has no name; the first row must name the fields", i+1)
		case !utf8.ValidString(name):
			return errNotUTF8
		case slices.Contains(header[:i], header[i]):
			return fmt.Errorf("two columns are named %q", header[i])
		}
	}
	return nil
}

// decodeArray yields one input per element of a JSON array. Past a syntax error nothing can be told apart, so that
// ends the source.
func decodeArray(r io.Reader, name string, yield func(Input, error) bool) {
	w := &window{r: r, limit: maxInputBytes}
	dec := json.NewDecoder(w)
	fail := func(err error) {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		yield(Input{}, fmt.Errorf("read %s: %w", place(name, w.lineAt(dec.InputOffset())), err))
	}
	open, err := dec.Token()
	if errors.Is(err, io.EOF) {
		return
	}
	if err != nil {
		fail(err)
		return
	}
	if open != json.Delim('[') {
		fail(errors.New("the file must hold one JSON array; for one object per line name it .jsonl or set format: jsonl"))
		return
	}
	for dec.More() {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			fail(err)
			return
		}
		in := Input{Where: place(name, w.lineAt(dec.InputOffset()-int64(len(raw))))}
		w.free(dec.InputOffset())
		if in.Fields, err = decodeFields(raw); err != nil {
			in.Bad = err.Error()
		}
		if !yield(in, nil) {
			return
		}
	}
	if _, err := dec.Token(); err != nil {
		fail(err)
		return
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		fail(errors.New("there is text after the end of the array"))
	}
}

// window passes a stream to a parser that buffers whole records. It bounds what the parser may hold (I7) and knows
// the line of each offset that the parser has not freed.
type window struct {
	r        io.Reader
	limit    int64
	read     int64   // bytes passed on
	freed    int64   // bytes the parser is done with
	lines    int     // newlines before freed
	newlines []int64 // offsets of the newlines from freed on
}

// windowSlack is more than a parser's own read-ahead.
const windowSlack = 1 << 20

func (w *window) Read(p []byte) (int, error) {
	if w.read-w.freed > w.limit+windowSlack {
		return 0, fmt.Errorf("one record is longer than %d MiB; is a quote left open?", w.limit>>20)
	}
	n, err := w.r.Read(p)
	for i, c := range p[:n] {
		if c == '\n' {
			w.newlines = append(w.newlines, w.read+int64(i))
		}
	}
	w.read += int64(n)
	return n, err
}

// free says that the parser will not go back before offset.
func (w *window) free(offset int64) {
	n, _ := slices.BinarySearch(w.newlines, offset)
	w.freed = offset
	w.lines += n
	w.newlines = slices.Delete(w.newlines, 0, n)
}

// lineAt is the 1-based line of offset, which is not before the last freed one.
func (w *window) lineAt(offset int64) int {
	n, _ := slices.BinarySearch(w.newlines, offset)
	return w.lines + n + 1
}

package spec

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/batchagent/batchagent/pkg/strictyaml"
)

// decodeCSV returns one input per record. The first record names the fields. sample is the beginning of r.
func (e encoding) decodeCSV(r *bufio.Reader, sample []byte, whole bool, name string, yield func(Input, error) bool) {
	delimiter, skipped := separatorLine(sample)
	w := &window{r: r, limit: maxInputBytes}
	if skipped > 0 {
		w.lines = 1
		_, _ = r.Discard(skipped) // the sample contains these bytes
	}
	if e.delimiter != 0 {
		delimiter = e.delimiter
	} else if delimiter == 0 {
		if delimiter = sniffDelimiter(sample, whole); delimiter != ',' {
			e.report(delimiterNote(name, delimiter))
		}
	}
	lineOf := func(line int) string { return strictyaml.Place(name, line+min(skipped, 1)) }
	cr := csv.NewReader(w)
	cr.Comma = delimiter
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
	if err := checkHeader(header, cr.Comma); err != nil {
		yield(Input{}, fmt.Errorf("%s: %w", lineOf(1), err))
		return
	}
	if len(header) == 1 {
		e.report(fmt.Sprintf("%s: every row has one column, %q; if another character separates columns, give its delimiter: {file: …, delimiter: …}", name, header[0]))
	}
	for rows := 0; ; rows++ {
		start := cr.InputOffset()
		w.free(start)
		record, err := cr.Read()
		if errors.Is(err, io.EOF) {
			if rows == 0 {
				e.report(name + " has a header row and no other")
			}
			return
		}
		in := Input{Where: name}
		if bad, ok := errors.AsType[*csv.ParseError](err); ok {
			in.Where = lineOf(bad.StartLine)
			in.Bad = bad.Err.Error()
			if errors.Is(bad.Err, csv.ErrFieldCount) {
				in.Bad = fmt.Sprintf("the record has %d fields and the header %d", len(record), len(header))
			}
		} else if err != nil {
			yield(Input{}, fmt.Errorf("read %s: %w", strictyaml.Place(name, w.lineAt(start)), err))
			return
		} else {
			line, _ := cr.FieldPos(0)
			in.Where = lineOf(line)
			in.Fields, in.Bad = csvFields(header, record)
			in.Names = header
		}
		if !yield(in, nil) {
			return
		}
	}
}

func (e encoding) report(text string) {
	if e.note != nil {
		e.note(text)
	}
}

func csvFields(header, record []string) (fields map[string]any, bad string) {
	fields = make(map[string]any, len(header))
	for i, name := range header {
		if !utf8.ValidString(record[i]) {
			return nil, fmt.Sprintf("field %q: %v", name, errNotUTF8)
		}
		if strings.IndexByte(record[i], 0) >= 0 {
			return nil, fmt.Sprintf("field %q: %v", name, errNUL)
		}
		fields[name] = record[i]
	}
	return fields, ""
}

// checkHeader trims the names of the columns and converts them to Unicode's form NFC.
func checkHeader(header []string, comma rune) error {
	last := len(header) - 1
	for last > 0 && strings.TrimSpace(header[last]) == "" {
		last--
	}
	if named := strings.TrimSpace(header[last]); named != "" && last < len(header)-1 {
		return fmt.Errorf("column %d has no name, because the row ends with %q; the first row must name the fields. Remove the characters after %q from every line, or name the column",
			last+2, strings.Repeat(string(comma), len(header)-1-last), named)
	}
	seen := make(map[string]bool, len(header))
	for i, name := range header {
		header[i] = norm.NFC.String(strings.TrimSpace(name))
		switch {
		case header[i] == "" && i == 0:
			return errors.New("column 1 has no name; the first row must name the fields. If it is the index that pandas writes, use to_csv(index=False)")
		case header[i] == "":
			return fmt.Errorf("column %d, after %q, has no name; the first row must name the fields", i+1, header[i-1])
		case !utf8.ValidString(name):
			return errNotUTF8
		case seen[header[i]]:
			return fmt.Errorf("two columns are named %q", header[i])
		}
		seen[header[i]] = true
	}
	return nil
}

// decodeArray returns one input per element of a JSON array. A syntax error ends the source, because elements after it
// cannot be separated.
func decodeArray(r io.Reader, name string, yield func(Input, error) bool) {
	w := &window{r: r, limit: maxInputBytes}
	dec := json.NewDecoder(w)
	fail := func(err error) {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		yield(Input{}, fmt.Errorf("read %s: %w", strictyaml.Place(name, w.lineAt(dec.InputOffset())), err))
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
		fail(errors.New("the file must hold one JSON array, and this is " + kindOfToken(open) + "; for one object per line name it .jsonl or set format: jsonl, " +
			"and to take the array out of an object use jq '.rows' (pandas: to_json(orient=\"records\"))"))
		return
	}
	for dec.More() {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			fail(err)
			return
		}
		in := Input{Where: strictyaml.Place(name, w.lineAt(dec.InputOffset()-int64(len(raw))))}
		w.free(dec.InputOffset())
		if in.Fields, in.Names, err = decodeFields(raw); err != nil {
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

func kindOfToken(t json.Token) string {
	if t == json.Delim('{') {
		return "an object"
	}
	return "a single value"
}

// window passes a stream to a parser that buffers whole records. It limits the bytes that the parser may hold (I7), and
// computes the line of each offset that the parser has not freed.
type window struct {
	r        io.Reader
	limit    int64
	read     int64   // bytes passed to the parser
	freed    int64   // bytes that the parser no longer needs
	lines    int     // newlines before freed
	newlines []int64 // offsets of the newlines from freed on
}

// windowSlack is larger than a parser's own read-ahead.
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

// free records that the parser will not go back before offset.
func (w *window) free(offset int64) {
	n, _ := slices.BinarySearch(w.newlines, offset)
	w.freed = offset
	w.lines += n
	w.newlines = slices.Delete(w.newlines, 0, n)
}

// lineAt returns the 1-based line of offset, which must not be before the last freed one.
func (w *window) lineAt(offset int64) int {
	n, _ := slices.BinarySearch(w.newlines, offset)
	return w.lines + n + 1
}

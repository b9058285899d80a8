package collect

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/pkg/batch"
)

// Format encodes results for a file or stream and decodes them.
type Format interface {
	// name returns one of Formats.
	name() string
	// header returns the bytes before the first result. It may be empty.
	header() []byte
	// record encodes one result with its terminator.
	record(r batch.Result, line []byte) ([]byte, error)
	// scan calls each for every whole record of r, with the fields that the format holds and the offsets of its start
	// and end. It returns the end of the last whole record; the rest is torn. A record that batchagent cannot have
	// written is an error.
	Scan(r io.Reader, each func(r batch.Result, from, to int64) error) (whole int64, err error)
	// renumber returns the record of r with another index and all other fields unchanged.
	renumber(r batch.Result, record []byte, index int64) ([]byte, error)
}

// MaxIndex limits the indexes in a results file, and so the memory for a damaged file: 1 bit per index.
const MaxIndex = 1 << 27

// formats lists the formats in the order used by messages.
var formats = []Format{JSONL{}, CSV{}, Parquet{}, Gzip{}, Zstd{}}

// Formats lists the names of the formats.
var Formats = func() (names []string) {
	for _, f := range formats {
		names = append(names, f.name())
	}
	return names
}()

// Stdout is the file name that selects standard output.
const Stdout = "-"

// ToFile returns the name of a results file, or "" for standard output.
func ToFile(out string) string {
	if out == Stdout {
		return ""
	}
	return out
}

// otherFormats lists file extensions of formats that batchagent does not write.
var otherFormats = []string{
	".json", ".tsv", ".arrow", ".feather", ".xlsx", ".xls", ".ods", ".yaml", ".yml", ".xml", ".db", ".sqlite", ".gz", ".zst", ".bz2", ".xz", ".zip",
}

// CheckOut returns the error that Results would return for out and format, so that a command can fail before it
// submits.
func CheckOut(out, format string) error {
	_, err := FormatFor(ToFile(out), format)
	return err
}

// FormatFor returns the named format. Without a name it is that of the file's extension, and otherwise JSON lines. out is ""
// for standard output.
func FormatFor(out, name string) (Format, error) {
	if name != "" {
		return formatOf(name)
	}
	base := strings.ToLower(filepath.Base(out))
	for _, f := range formats {
		if strings.HasSuffix(base, "."+f.name()) {
			return f, nil
		}
	}
	if ext := filepath.Ext(base); slices.Contains(otherFormats, ext) {
		stem := strings.TrimSuffix(out, filepath.Ext(out))
		return nil, fault.Usagef("--out %s: results are written as %s, not as %s; write --out %s.jsonl or --out %s.csv, or give --format",
			out, strings.Join(Formats, ", "), ext, stem, stem)
	}
	return JSONL{}, nil
}

func formatOf(name string) (Format, error) {
	for _, f := range formats {
		if f.name() == name {
			return f, nil
		}
	}
	return nil, fault.Usagef("the format %q is none of %s", name, strings.Join(Formats, ", "))
}

// ErrNotResults reports that a file holds other data and must not be overwritten.
var ErrNotResults = errors.New("it does not hold results of batchagent; name another file")

// JSONL writes one JSON object per line, the same as in Redis.
type JSONL struct{}

func (JSONL) name() string { return "jsonl" }

func (JSONL) header() []byte { return nil }

func (JSONL) record(_ batch.Result, line []byte) ([]byte, error) {
	return append(bytes.Clone(line), '\n'), nil
}

func (JSONL) Scan(r io.Reader, each func(r batch.Result, from, to int64) error) (whole int64, err error) {
	in := bufio.NewReaderSize(r, 64<<10)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			if !beginsLike(line, `{"batch":"`) {
				return whole, fmt.Errorf("line %d: %w", n, ErrNotResults)
			}
			return whole, nil
		}
		if err != nil {
			return whole, err
		}
		var res batch.Result
		if unmarshalLine(line, &res) != nil || res.JobID != batch.JobID(res.Index) || !mayBeIndex(res.Index) {
			return whole, fmt.Errorf("line %d: %w", n, ErrNotResults)
		}
		to := whole + int64(len(line))
		if err := each(res, whole, to); err != nil {
			return whole, fmt.Errorf("line %d: %w", n, err)
		}
		whole = to
	}
}

func unmarshalLine(line []byte, r *batch.Result) error { return json.Unmarshal(line, r) }

func mayBeIndex(i int64) bool { return i >= 0 && i < MaxIndex }

func (JSONL) renumber(r batch.Result, record []byte, index int64) ([]byte, error) {
	head := func(index int64) []byte {
		return fmt.Appendf(nil, `{"batch":%q,"job_id":%q,"index":%d,`, r.Batch, batch.JobID(index), index)
	}
	// Package batch writes this prefix. The rest is copied, including fields that a later version added.
	if rest, ok := bytes.CutPrefix(record, head(r.Index)); ok {
		return append(head(index), rest...), nil
	}
	var whole batch.Result
	if err := json.Unmarshal(record, &whole); err != nil {
		return nil, fmt.Errorf("read %s again: %w", r.JobID, err)
	}
	whole.Index, whole.JobID = index, batch.JobID(index)
	line, err := json.Marshal(whole)
	if err != nil {
		return nil, fmt.Errorf("encode the result of %s: %w", whole.JobID, err)
	}
	return append(line, '\n'), nil
}

// beginsLike reports whether b can be a torn beginning of data that starts with prefix.
func beginsLike(b []byte, prefix string) bool {
	n := min(len(b), len(prefix))
	return string(b[:n]) == prefix[:n]
}

package collect

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
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

// maxIndex limits the indexes in a results file, and so the memory for a damaged file: 1 bit per index.
const MaxIndex = 1 << 27

// Formats lists the names of the formats.
var Formats = []string{"jsonl", "csv"}

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
	".json", ".tsv", ".parquet", ".arrow", ".feather", ".xlsx", ".xls", ".ods", ".yaml", ".yml", ".xml", ".db", ".sqlite", ".gz", ".zst", ".bz2", ".xz", ".zip",
}

// CheckOut returns the error that Results would return for out and format, so that a command can fail before it
// submits.
func CheckOut(out, format string) error {
	_, err := FormatFor(ToFile(out), format)
	return err
}

// FormatFor returns the named format. Without a name it uses the file's extension: CSV for .csv, otherwise JSON lines.
// out is "" for standard output.
func FormatFor(out, name string) (Format, error) {
	ext := strings.ToLower(filepath.Ext(out))
	switch {
	case name != "":
		return formatOf(name)
	case ext == ".csv":
		return CSV{}, nil
	case slices.Contains(otherFormats, ext):
		base := strings.TrimSuffix(out, filepath.Ext(out))
		return nil, fault.Usagef("--out %s: results are written as JSON lines or CSV, not as %s; write --out %s.jsonl or --out %s.csv, or give --format", out, ext, base, base)
	}
	return JSONL{}, nil
}

// HeldFormat returns the format of a file, judged by its first bytes; "" if it is neither format.
func HeldFormat(r io.ReaderAt) string {
	var head [len("batch,job_id,")]byte
	n, _ := r.ReadAt(head[:], 0)
	switch text := string(head[:n]); {
	case strings.HasPrefix(text, `{"batch":`):
		return "jsonl"
	case text == "batch,job_id,":
		return "csv"
	}
	return ""
}

func formatOf(name string) (Format, error) {
	switch name {
	case "", "jsonl":
		return JSONL{}, nil
	case "csv":
		return CSV{}, nil
	}
	return nil, fault.Usagef("the format %q is neither jsonl nor csv", name)
}

// errNotResults reports that a file holds other data and must not be overwritten.
var ErrNotResults = errors.New("it does not hold results of batchagent; name another file")

// JSONL writes one JSON object per line, the same as in Redis.
type JSONL struct{}

func (JSONL) name() string { return Formats[0] }

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
		if json.Unmarshal(line, &res) != nil || res.JobID != batch.JobID(res.Index) || !mayBeIndex(res.Index) {
			return whole, fmt.Errorf("line %d: %w", n, ErrNotResults)
		}
		to := whole + int64(len(line))
		if err := each(res, whole, to); err != nil {
			return whole, fmt.Errorf("line %d: %w", n, err)
		}
		whole = to
	}
}

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

// csvColumns is the header of a CSV file. New columns may be added at the end.
var csvColumns = []string{
	"batch", "job_id", "index", "status", "error_type", "error_message", "output", "attempts", "turns", "prompt_tokens",
	"cached_tokens", "completion_tokens", "tools_asked", "tools_executed", "model", "worker", "wall_ms",
	"reused_from", "item", "context_tokens", "fingerprint", "max_tokens", "question", "request_model", "simulated",
	"left_out", "request_at_fault",
}

// csvColumnsBefore lists the numbers of columns that earlier versions wrote.
var csvColumnsBefore = []int{20, 25}

// csvListEnd separates the names in a column that holds a list.
const csvListEnd = " "

// CSV is RFC 4180 with a header. The output is JSON in one column.
type CSV struct{}

func (CSV) name() string { return Formats[1] }

func (CSV) header() []byte { return csvLine(csvColumns) }

func (CSV) record(r batch.Result, _ []byte) ([]byte, error) {
	errType, errMessage := "", ""
	if r.Error != nil {
		errType, errMessage = string(r.Error.Type), r.Error.Message
	}
	output := ""
	if r.Status == batch.OK {
		output = string(r.Output)
	}
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	yes := func(v bool) string {
		if v {
			return "true"
		}
		return ""
	}
	return csvLine([]string{
		string(r.Batch), r.JobID, n(r.Index), string(r.Status), errType, errMessage, output, n(int64(r.Attempts)),
		n(int64(r.Turns)), n(r.Usage.PromptTokens), n(r.Usage.CachedTokens), n(r.Usage.CompletionTokens),
		n(r.Tools.Asked), n(r.Tools.Executed), r.Model, r.Worker, n(r.WallMS), r.ReusedFrom, string(r.Item),
		n(r.Usage.ContextTokens), r.Fingerprint, n(int64(r.MaxTokens)), r.Question, r.RequestModel, yes(r.Simulated),
		strings.Join(r.LeftOut, csvListEnd), yes(r.Error != nil && r.Error.RequestAtFault),
	}), nil
}

func csvLine(fields []string) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write(fields) // writes to a Buffer cannot fail
	w.Flush()
	return b.Bytes()
}

func (f CSV) Scan(r io.Reader, each func(r batch.Result, from, to int64) error) (whole int64, err error) {
	in := bufio.NewReaderSize(r, 64<<10)
	header := string(f.header())
	for n := 1; ; n++ {
		raw, err := csvRecord(in)
		if n == 1 && err == nil && isEarlierHeader(raw) {
			header = string(raw)
		}
		switch {
		case err != nil && err != io.EOF:
			return whole, err
		case n == 1 && !beginsLike(raw, header), n == 1 && err == nil && string(raw) != header:
			return whole, fmt.Errorf("line 1: %w", ErrNotResults)
		case err == io.EOF:
			return whole, nil
		}
		to := whole + int64(len(raw))
		if n > 1 {
			res, ok := parseCSV(raw)
			if !ok {
				return whole, fmt.Errorf("record %d: %w", n, ErrNotResults)
			}
			if err := each(res, whole, to); err != nil {
				return whole, fmt.Errorf("record %d: %w", n, err)
			}
		}
		whole = to
	}
}

// isEarlierHeader reports whether line is the header of an earlier version.
func isEarlierHeader(line []byte) bool {
	return slices.ContainsFunc(csvColumnsBefore, func(n int) bool { return bytes.Equal(line, csvLine(csvColumns[:n])) })
}

func (CSV) renumber(_ batch.Result, record []byte, index int64) ([]byte, error) {
	row, err := csv.NewReader(bytes.NewReader(record)).Read()
	if err != nil {
		return nil, fmt.Errorf("read %s again: %w", batch.JobID(index), err)
	}
	row[1], row[2] = batch.JobID(index), strconv.FormatInt(index, 10)
	return csvLine(append(row, make([]string, max(0, len(csvColumns)-len(row)))...)), nil
}

// csvRecord reads up to the first line end outside quotes. A record without one is returned with io.EOF.
func csvRecord(in *bufio.Reader) ([]byte, error) {
	var raw []byte
	for {
		line, err := in.ReadBytes('\n')
		raw = append(raw, line...)
		if err != nil || bytes.Count(raw, []byte{'"'})%2 == 0 {
			return raw, err
		}
	}
}

// parseCSV decodes the columns that identify and compare results.
func parseCSV(raw []byte) (r batch.Result, ok bool) {
	row, err := csv.NewReader(bytes.NewReader(raw)).Read()
	if err != nil || len(row) != len(csvColumns) && !slices.Contains(csvColumnsBefore, len(row)) {
		return r, false
	}
	row = append(row, make([]string, len(csvColumns)-len(row))...)
	index, err := batch.ParseJobID(row[1])
	if err != nil || row[2] != strconv.FormatInt(index, 10) || !mayBeIndex(index) {
		return r, false
	}
	r = batch.Result{Batch: batch.ID(row[0]), JobID: row[1], Index: index, Status: batch.Status(row[3]), Model: row[14], Worker: row[15],
		ReusedFrom: row[17], Fingerprint: row[20], Question: row[22], RequestModel: row[23], Simulated: row[24] == "true"}
	if row[18] != "" {
		r.Item = json.RawMessage(row[18])
	}
	if row[4] != "" {
		r.Error = &batch.Error{Type: batch.ErrorType(row[4]), Message: row[5], Retryable: batch.ErrorType(row[4]).Retryable(), RequestAtFault: row[26] == "true"}
	}
	if row[25] != "" {
		r.LeftOut = strings.Split(row[25], csvListEnd)
	}
	for column, dst := range map[int]*int64{
		9: &r.Usage.PromptTokens, 10: &r.Usage.CachedTokens, 11: &r.Usage.CompletionTokens,
		12: &r.Tools.Asked, 13: &r.Tools.Executed, 16: &r.WallMS, 19: &r.Usage.ContextTokens,
	} {
		if *dst, err = strconv.ParseInt(row[column], 10, 64); err != nil {
			return r, false
		}
	}
	r.Attempts, _ = strconv.Atoi(row[7])
	r.Turns, _ = strconv.Atoi(row[8])
	r.MaxTokens, _ = strconv.Atoi(row[21])
	return r, true
}

package collect

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/pkg/batch"
)

// Whole is a format that is written as a whole, in the order of the inputs: a table or a compressed file. The results are
// first recorded as JSON lines in a file beside it, so that an interrupted command continues.
type Whole interface {
	Format
	// render writes the results to w.
	render(w io.Writer, results *ordered, l Layout) error
	// restore writes the JSON lines of the results in r to w. It is nil for a format that does not hold complete results.
	restore() func(w io.Writer, r io.Reader) error
}

// ordered are the results of a record, in the order of the inputs.
type ordered struct {
	file   *File
	places *places
}

// each calls fn with every result and its line, in order. The line is valid until fn returns.
func (o *ordered) each(fn func(r batch.Result, line []byte) error) error {
	var buf []byte
	return o.places.each(func(index, from int64, size int) error {
		buf = slices.Grow(buf[:0], size)[:size]
		if _, err := o.file.f.ReadAt(buf, from); err != nil {
			return err
		}
		var r batch.Result
		if err := unmarshalLine(buf, &r); err != nil {
			return fmt.Errorf("read the result of %s: %w", batch.JobID(index), err)
		}
		return fn(r, buf)
	})
}

// view is a file in a Whole format that Close writes from its record.
type view struct {
	path   string    // "" writes to w
	w      io.Writer // for standard output
	temp   string    // folder of the record, which Close removes; "" keeps the record
	format Whole
	layout Layout
}

// RecordOf returns the name of the JSON lines beside a file in a format that is written as a whole.
func RecordOf(path string) string { return path + ".jsonl" }

// openView opens the record of a file in a Whole format.
func openView(path string, f Whole, id batch.ID, jobs int64) (*File, error) {
	record := RecordOf(path)
	if err := prepareView(path, record, f); err != nil {
		return nil, err
	}
	file, err := openFile(record, JSONL{}, id, jobs)
	if err != nil {
		return nil, err
	}
	if err := removeUnfinished(path); err != nil {
		return nil, errors.Join(err, file.f.Close())
	}
	file.view = &view{path: path, format: f}
	return file, nil
}

// OpenRecord opens the JSON lines of results: a file of them, or the record of a file in another format.
func OpenRecord(path string) (*os.File, error) {
	format, err := FormatFor(path, "")
	if err != nil {
		format = JSONL{} // the reader of the lines judges the content
	}
	whole, ok := format.(Whole)
	switch {
	case !ok:
		return os.Open(path)
	case whole.restore() == nil:
		record, err := os.Open(RecordOf(path))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s: a %s file does not hold complete results, and %s, their record, does not exist", path, whole.name(), RecordOf(path))
		}
		return record, err
	}
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close() //nolint:errcheck // nothing was written
	lines, err := os.CreateTemp("", "batchagent-results-*")
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", path, err)
	}
	// The file has no name, so that it ends with the process.
	if err := errors.Join(os.Remove(lines.Name()), whole.restore()(lines, in)); err != nil {
		return nil, errors.Join(fmt.Errorf("unpack %s: %w", path, err), lines.Close())
	}
	_, err = lines.Seek(0, io.SeekStart)
	return lines, err
}

// prepareView restores the record of a file that has none, or returns an error if the file must not be replaced.
func prepareView(path, record string, f Whole) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fault.Usagef("--out: %w", err)
	case !info.Mode().IsRegular():
		return fault.Usagef("--out: %s is not a file; without --out, results go to standard output", path)
	}
	if _, err := os.Stat(record); err == nil || info.Size() == 0 {
		return nil
	}
	restore := f.restore()
	if restore == nil {
		return fault.Usagef("%s exists, and %s, the record of its results, does not; name another --out, or remove the file", path, record)
	}
	in, err := os.Open(path)
	if err != nil {
		return fault.Usagef("--out: %w", err)
	}
	defer in.Close() //nolint:errcheck // nothing was written
	err = ReplaceFile(record, info.Mode(), func(w io.Writer) error { return restore(w, in) })
	if err != nil {
		return fault.Usagef("%s: %w; name another file", path, err)
	}
	return nil
}

// OpenPiped records results in a temporary file. Close writes them to w in the format, in the order of the inputs.
func OpenPiped(w io.Writer, f Whole, id batch.ID) (*File, error) {
	dir, err := os.MkdirTemp("", "batchagent-results-*")
	if err != nil {
		return nil, fmt.Errorf("record results: %w", err)
	}
	file, err := openFile(filepath.Join(dir, "results.jsonl"), JSONL{}, id, MaxIndex)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	file.view = &view{w: w, temp: dir, format: f}
	return file, nil
}

// SetLayout sets the columns that the spec of the results decides. Formats without columns ignore it.
func (f *File) SetLayout(l Layout) {
	if f.view != nil {
		f.view.layout = l
	}
}

// writeView writes the view of the record.
func (f *File) writeView() error {
	v := f.view
	switch {
	case v == nil:
		return nil
	case f.Count() == 0 && v.path == "":
		return os.RemoveAll(v.temp)
	case f.Count() == 0:
		return os.Remove(f.path) // a command that ends without a result leaves no files
	}
	places, err := newPlaces(filepath.Dir(f.path))
	if err != nil {
		return err
	}
	defer places.close() //nolint:errcheck // it is a temporary file
	err = f.Each(func(r batch.Result, from, to int64) error {
		if r.Index >= f.end {
			return nil
		}
		return places.set(r.Index, from, to)
	})
	if err != nil {
		return err
	}
	results := &ordered{f, places}
	render := func(w io.Writer) error {
		b := bufio.NewWriterSize(w, 256<<10)
		if err := v.format.render(b, results, v.layout); err != nil {
			return err
		}
		return b.Flush()
	}
	if v.path == "" {
		return errors.Join(render(v.w), os.RemoveAll(v.temp))
	}
	if err := ReplaceFile(v.path, 0o644, render); err != nil {
		return fmt.Errorf("write %s from its record %s: %w; the record is complete, and the same command writes the file again", v.path, f.path, err)
	}
	if v.format.restore() == nil {
		return nil
	}
	if err := os.Remove(f.path); err != nil {
		return fmt.Errorf("remove the record of %s, which is complete: %w", v.path, err)
	}
	return nil
}

// tableWriter writes rows of a table.
type tableWriter interface {
	write(row) error
	close() error
}

// renderTable finds the columns of a table, and then writes its rows.
func renderTable[W tableWriter](w io.Writer, results *ordered, l Layout, begin func(io.Writer, *table) (W, error)) error {
	survey := surveyOf(l)
	err := results.each(func(r batch.Result, _ []byte) error {
		row, err := rowOf(r)
		if err == nil {
			survey.add(row)
		}
		return err
	})
	if err != nil {
		return err
	}
	rows, err := begin(w, survey.table())
	if err != nil {
		return err
	}
	err = results.each(func(r batch.Result, _ []byte) error {
		row, err := rowOf(r)
		if err != nil {
			return err
		}
		return rows.write(row)
	})
	return errors.Join(err, rows.close())
}

// recorded is the part of a Whole format that its record implements.
type recorded struct{ JSONL }

// CSV is a table with a header.
type CSV struct{ recorded }

func (CSV) name() string { return "csv" }

func (CSV) render(w io.Writer, results *ordered, l Layout) error {
	return renderTable(w, results, l, newCSVWriter)
}

func (CSV) restore() func(io.Writer, io.Reader) error { return nil }

// Parquet is a table with typed columns.
type Parquet struct{ recorded }

func (Parquet) name() string { return "parquet" }

func (Parquet) render(w io.Writer, results *ordered, l Layout) error {
	return renderTable(w, results, l, newParquetWriter)
}

func (Parquet) restore() func(io.Writer, io.Reader) error { return nil }

// Gzip is JSON lines in a gzip file.
type Gzip struct{ recorded }

func (Gzip) name() string { return "jsonl.gz" }

func (Gzip) render(w io.Writer, results *ordered, _ Layout) error {
	return renderLines(gzip.NewWriter(w), results)
}

func (Gzip) restore() func(io.Writer, io.Reader) error {
	return func(w io.Writer, r io.Reader) error {
		z, err := gzip.NewReader(r)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, z) //nolint:gosec // the user named the file as the one to continue
		return err
	}
}

// Zstd is JSON lines in a zstd file.
type Zstd struct{ recorded }

func (Zstd) name() string { return "jsonl.zst" }

func (Zstd) render(w io.Writer, results *ordered, _ Layout) error {
	z, err := zstd.NewWriter(w)
	if err != nil {
		return err
	}
	return renderLines(z, results)
}

func (Zstd) restore() func(io.Writer, io.Reader) error {
	return func(w io.Writer, r io.Reader) error {
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return err
		}
		defer z.Close()
		_, err = io.Copy(w, z)
		return err
	}
}

func renderLines(w io.WriteCloser, results *ordered) error {
	err := results.each(func(_ batch.Result, line []byte) error {
		_, err := w.Write(line)
		return err
	})
	return errors.Join(err, w.Close())
}

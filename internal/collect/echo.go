package collect

import (
	"bytes"
	"fmt"
	"io"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Echo is a results file that also writes its lines to another writer.
type Echo struct {
	*File
	w io.Writer
}

// NewEcho writes the results that f already has to w. keep reports whether the result of a job is final; the others are omitted,
// because a new result follows.
func NewEcho(f *File, w io.Writer, keep func(index int64) bool) (Echo, error) {
	err := f.Each(func(r batch.Result, from, to int64) error {
		if !keep(r.Index) {
			return nil
		}
		_, err := io.Copy(w, io.NewSectionReader(f.f, from, to-from))
		return err
	})
	if err != nil {
		return Echo{}, fmt.Errorf("write results: %w", err)
	}
	return Echo{f, w}, nil
}

// Write stores results in the file and then writes them.
func (e Echo) Write(results []batch.Result, lines [][]byte) error {
	if err := e.File.Write(results, lines); err != nil {
		return err
	}
	if _, err := e.w.Write(append(bytes.Join(lines, []byte("\n")), '\n')); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

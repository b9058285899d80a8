package coordinator

import (
	"bytes"
	"fmt"
	"io"

	"github.com/batchagent/batchagent/pkg/batch"
)

// echo is a results file whose lines are also written to w.
type echo struct {
	*File
	w io.Writer
}

// echoed writes the results that f already has to w and returns f with an echo.
func echoed(f *File, w io.Writer) (echo, error) {
	if _, err := io.Copy(w, io.NewSectionReader(f.f, 0, f.size)); err != nil {
		return echo{}, fmt.Errorf("write results: %w", err)
	}
	return echo{f, w}, nil
}

func (e echo) Write(results []batch.Result, lines [][]byte) error {
	if err := e.File.Write(results, lines); err != nil {
		return err
	}
	if _, err := e.w.Write(append(bytes.Join(lines, []byte("\n")), '\n')); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

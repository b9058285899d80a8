package spec

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"iter"
)

// Records are inputs that do not come from a file. Each call returns all of them, always the same ones in the same
// order. An error means that they cannot be read, and ends them.
type Records func(ctx context.Context) iter.Seq2[Record, error]

// Record is one input.
type Record struct {
	Where string          // name in messages
	JSON  json.RawMessage // the members of an object are the input's fields; any other value is the field "input"
}

// recordSource is a source of Records. It is not safe for concurrent use.
type recordSource struct {
	records Records
	sum     []byte // of all records, after they were read to the end; nil before
}

func (s *recordSource) read(ctx context.Context, _ func(string) bool) iter.Seq2[Input, error] {
	return func(yield func(Input, error) bool) {
		sum := sha256.New()
		for rec, err := range s.records(ctx) {
			if err != nil {
				yield(Input{}, err)
				return
			}
			_, _ = fmt.Fprintf(sum, "%d %s", len(rec.JSON), rec.JSON) // a hash returns no error
			if !yield(rec.input(), nil) {
				return
			}
		}
		s.sum = sum.Sum(nil)
	}
}

func (r Record) input() Input {
	in := Input{Where: r.Where}
	if len(r.JSON) > maxInputBytes {
		in.Bad = fmt.Sprintf("the input is longer than %d MiB", maxInputBytes>>20)
		return in
	}
	var err error
	if in.Fields, in.Names, err = decodeFields(r.JSON); err != nil {
		in.Bad = err.Error()
	}
	return in
}

func (s *recordSource) identify(ctx context.Context, w io.Writer) error {
	if s.sum == nil {
		for _, err := range s.read(ctx, nil) {
			if err != nil {
				return fmt.Errorf("identify inputs: %w", err)
			}
		}
	}
	_, err := fmt.Fprintf(w, "records %x\n", s.sum)
	return err
}

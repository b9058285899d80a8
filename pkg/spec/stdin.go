package spec

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
)

// stdinName is the name of standard input in messages.
const stdinName = "standard input"

// stdinSource is a stream that can be read once. The first read copies it to a temporary file, because inputs are read
// twice. It is not safe for concurrent use.
type stdinSource struct {
	stream    io.Reader
	format    format
	delimiter rune   // of CSV; 0 detects it
	name      string // name in messages
	notes

	spool *os.File // nil until the first read
	size  int64
	sum   [sha256.Size]byte
}

func (s *stdinSource) read(ctx context.Context, _ func(string) bool) iter.Seq2[Input, error] {
	return func(yield func(Input, error) bool) {
		if err := s.fill(ctx); err != nil {
			yield(Input{}, err)
			return
		}
		s.encoding(s.format, s.delimiter).decode(io.NewSectionReader(s.spool, 0, s.size), s.name)(yield)
	}
}

func (s *stdinSource) identify(ctx context.Context, w io.Writer) error {
	if err := s.fill(ctx); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "stdin %s%s %d %x\n", s.format, delimiterMark(s.delimiter), s.size, s.sum)
	return err
}

// fill copies the stream to the spool, once.
func (s *stdinSource) fill(ctx context.Context) error {
	if s.spool != nil {
		return nil
	}
	f, err := os.CreateTemp("", "batchagent-stdin-*")
	if err != nil {
		return fmt.Errorf("spool %s: %w", s.name, err)
	}
	sum := sha256.New()
	size, err := io.Copy(io.MultiWriter(f, sum), &cancelReader{ctx: ctx, r: s.stream})
	if err != nil {
		return errors.Join(fmt.Errorf("spool %s: %w", s.name, err), f.Close(), os.Remove(f.Name()))
	}
	s.spool, s.size = f, size
	sum.Sum(s.sum[:0])
	return nil
}

// close removes the spool.
func (s *stdinSource) close() error {
	if s.spool == nil {
		return nil
	}
	err := errors.Join(s.spool.Close(), os.Remove(s.spool.Name()))
	s.spool = nil
	return err
}

// cancelReader stops between two reads once ctx is done.
type cancelReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancelReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

package redact

import (
	"bytes"
	"io"
)

// maxLine bounds how much of a line a reader of lines holds back.
const maxLine = 1 << 20

// Lines returns a reader of r without secrets that holds no finished line back. It is for streams of events: the last event
// must arrive although the stream stays open. A secret across lines is not found, and neither is one at a multiple of 1 MiB
// within a line.
func (s *Secrets) Lines(r io.Reader) io.Reader {
	return &lines{secrets: s, from: r}
}

type lines struct {
	secrets *Secrets
	from    io.Reader
	chunk   [4 << 10]byte
	held    []byte // the beginning of a line
	ready   []byte // without secrets, not read yet
	err     error
}

func (l *lines) Read(p []byte) (int, error) {
	for len(l.ready) == 0 {
		if l.err != nil {
			return 0, l.err
		}
		var n int
		n, l.err = l.from.Read(l.chunk[:])
		l.held = append(l.held, l.chunk[:n]...)
		whole := bytes.LastIndexByte(l.held, '\n') + 1
		if l.err != nil || len(l.held)-whole > maxLine {
			whole = len(l.held)
		}
		l.ready = append(l.ready[:0], l.secrets.Text(string(l.held[:whole]))...)
		l.held = append(l.held[:0], l.held[whole:]...)
	}
	n := copy(p, l.ready)
	l.ready = l.ready[n:]
	return n, nil
}

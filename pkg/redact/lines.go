package redact

import (
	"bytes"
	"io"
)

// maxLine is how much of a line a reader of lines buffers.
const maxLine = 1 << 20

// Lines returns a reader that strikes secrets out of r and buffers no complete line. It is for streams of events, where the
// last event must arrive although the stream stays open. It does not find a secret that spans lines, or one at a multiple of 1
// MiB within a line.
func (s *Secrets) Lines(r io.Reader) io.Reader {
	return &lines{secrets: s, from: r}
}

type lines struct {
	secrets *Secrets
	from    io.Reader
	chunk   [4 << 10]byte
	held    []byte // the start of a line
	ready   []byte // redacted, not read yet
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

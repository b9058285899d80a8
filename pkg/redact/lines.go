package redact

import (
	"bytes"
	"io"
)

// Lines returns a reader that strikes secrets out of r and holds nothing back at the end of a line. It is for streams of
// events, where the last event must arrive although the stream stays open. It may miss a secret that spans lines.
func (s *Secrets) Lines(r io.Reader) io.Reader {
	return &reader{stream: stream{secrets: s}, from: r, lines: true}
}

// nextLines is stream.next, but it decides about all complete lines.
func (s *stream) nextLines(chunk []byte, final bool) []byte {
	ended := bytes.LastIndexByte(chunk, '\n') + 1
	if ended == 0 {
		return s.next(chunk, final)
	}
	lines := s.next(chunk[:ended], true)
	return append(lines[:len(lines):len(lines)], s.next(chunk[ended:], final)...)
}

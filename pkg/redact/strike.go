package redact

import (
	"io"
	"strings"
)

// Mark replaces a secret in a text.
const Mark = "[secret]"

// Text returns text with a [Mark] in place of each secret.
func (s *Secrets) Text(text string) string {
	if s == nil || len(s.patterns) == 0 || text == "" {
		return text
	}
	scan := stream{secrets: s}
	out := string(scan.next([]byte(text), false))
	return out + string(scan.next(nil, true))
}

// Error returns err if its text contains no secret. Otherwise it returns an error with the redacted text that wraps err.
func (s *Secrets) Error(err error) error {
	if err == nil {
		return nil
	}
	if shown := s.Text(err.Error()); shown != err.Error() {
		return &redacted{shown, err}
	}
	return err
}

type redacted struct {
	text string
	err  error
}

func (r *redacted) Error() string { return r.text }
func (r *redacted) Unwrap() error { return r.err }

// Writer returns a writer that redacts its input and writes it to w. Close writes the rest; it does not close w.
func (s *Secrets) Writer(w io.Writer) io.WriteCloser {
	return &writer{stream{secrets: s}, w}
}

type writer struct {
	stream stream
	to     io.Writer
}

func (w *writer) Write(p []byte) (int, error) {
	if _, err := w.to.Write(w.stream.next(p, false)); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *writer) Close() error {
	_, err := w.to.Write(w.stream.next(nil, true))
	return err
}

// Reader returns a reader that redacts r. It reads ahead by at most 4 KiB and the longest secret.
func (s *Secrets) Reader(r io.Reader) io.Reader {
	return &reader{stream: stream{secrets: s}, from: r}
}

type reader struct {
	stream stream
	from   io.Reader
	chunk  [4 << 10]byte
	ready  []byte // redacted, not read yet
	err    error
}

func (r *reader) Read(p []byte) (int, error) {
	for len(r.ready) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		var n int
		n, r.err = r.from.Read(r.chunk[:])
		r.ready = r.stream.next(r.chunk[:n], r.err != nil)
	}
	n := copy(p, r.ready)
	r.ready = r.ready[n:]
	return n, nil
}

// stream strikes secrets out of chunks. It decides about a byte once it has the longest pattern that could start there.
type stream struct {
	secrets *Secrets
	held    []byte // undecided
	before  byte   // the byte before held; 0 at the start
}

// next returns the text that is decided after chunk. The last call is final.
func (s *stream) next(chunk []byte, final bool) []byte {
	if s.secrets == nil || len(s.secrets.patterns) == 0 {
		return chunk
	}
	s.held = append(s.held, chunk...)
	text := string(s.held)
	decided := len(text) - s.secrets.longest // bytes before it
	if final {
		decided = len(text)
	}
	if decided <= 0 {
		return nil
	}
	var out []byte
	at := 0
	found := newSearch(s.secrets.patterns, text, s.before)
	for at < decided {
		start, end, ok := found.after(at)
		if !ok || start >= decided {
			break
		}
		out = append(append(out, text[at:start]...), Mark...)
		at = end
	}
	if at < decided {
		out = append(out, text[at:decided]...)
		at = decided
	}
	if final {
		return s.secrets.withoutHalf(out)
	}
	if at > 0 {
		s.before = text[at-1]
	}
	s.held = append(s.held[:0], text[at:]...)
	return out
}

// withoutHalf strikes out the first half or more of a secret at the end of a text, in case the source was cut within a secret.
func (s *Secrets) withoutHalf(end []byte) []byte {
	for _, secret := range s.raw {
		for n := min(len(secret)-1, len(end)); n >= max(shortWord, (len(secret)+1)/2); n-- {
			if strings.HasPrefix(secret, string(end[len(end)-n:])) {
				return append(end[:len(end)-n], Mark...)
			}
		}
	}
	return end
}

// search finds the first match of several patterns. It keeps the next match of each pattern, so that each reads the text only
// once.
type search struct {
	patterns []pattern
	text     string
	before   byte
	next     []int // of each pattern; len(text) without a match
}

func newSearch(patterns []pattern, text string, before byte) *search {
	s := &search{patterns: patterns, text: text, before: before, next: make([]int, len(patterns))}
	for i := range patterns {
		s.next[i] = s.index(i, 0)
	}
	return s
}

// after returns the first match that starts at from or later, and the longest of several with the same start.
func (s *search) after(from int) (start, end int, ok bool) {
	start = len(s.text)
	for i, p := range s.patterns {
		if s.next[i] < from {
			s.next[i] = s.index(i, from)
		}
		if s.next[i] < start {
			start, end, ok = s.next[i], s.next[i]+len(p.text), true
		}
	}
	return start, end, ok
}

// index returns the first match of a pattern at from or later.
func (s *search) index(i, from int) int {
	p := s.patterns[i]
	for {
		at := strings.Index(s.text[from:], p.text)
		if at < 0 {
			return len(s.text)
		}
		at += from
		if !p.word || s.alone(at, at+len(p.text)) {
			return at
		}
		from = at + 1
	}
}

// alone reports whether the text from start to end is a separate word.
func (s *search) alone(start, end int) bool {
	before := s.before
	if start > 0 {
		before = s.text[start-1]
	}
	return !isWordByte(before) && (end == len(s.text) || !isWordByte(s.text[end]))
}

func isWordByte(b byte) bool {
	return b == '_' || b == '-' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= 0x80
}

package redact

import (
	"io"
	"slices"
)

// Mark replaces a secret in a text.
const Mark = "[secret]"

// Text returns text with a [Mark] in place of each secret.
func (s *Secrets) Text(text string) string {
	if s == nil || len(s.texts) == 0 || text == "" {
		return text
	}
	scan := stream{secrets: s}
	return string(scan.next([]byte(text), true))
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

// Reader returns a reader that redacts r. It reads ahead by at most 4 KiB and the longest form of a secret.
func (s *Secrets) Reader(r io.Reader) io.Reader {
	return &reader{stream: stream{secrets: s}, from: r}
}

type reader struct {
	stream stream
	from   io.Reader
	lines  bool // decide at the end of each line
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
		if n, r.err = r.from.Read(r.chunk[:]); r.err != nil {
			r.err = r.stream.secrets.Error(r.err)
		}
		if r.lines {
			r.ready = r.stream.nextLines(r.chunk[:n], r.err != nil)
		} else {
			r.ready = r.stream.next(r.chunk[:n], r.err != nil)
		}
	}
	n := copy(p, r.ready)
	r.ready = r.ready[n:]
	return n, nil
}

// stream strikes secrets out of chunks. It decides about a byte once no longer match can start there.
type stream struct {
	secrets *Secrets
	held    []byte // undecided
	before  byte   // the byte before held; 0 at the start
	scratch [2][]int
}

// next returns the text that is decided after chunk. The last call is final.
func (s *stream) next(chunk []byte, final bool) []byte {
	if s.secrets == nil || len(s.secrets.texts) == 0 {
		return chunk
	}
	s.held = append(s.held, chunk...)
	text := s.held
	var out []byte
	at, shown := 0, 0 // text[:shown] is in out
	for at < len(text) {
		if !s.secrets.mayStart(text, at) {
			at++
			continue
		}
		end, open := s.find(text, at, final)
		if open {
			break
		}
		if end < 0 {
			at++
			continue
		}
		out = append(append(out, text[shown:at]...), Mark...)
		at, shown = end, end
	}
	out = append(out, text[shown:at]...)
	if at > 0 {
		s.before = text[at-1]
	}
	s.held = append(s.held[:0], text[at:]...)
	return out
}

// mayStart reports whether a match may start at a position of text.
func (s *Secrets) mayStart(text []byte, at int) bool {
	first := text[at]
	if s.byFirst[first] == nil || at+1 < len(text) && !s.second[first].has(text[at+1]) {
		return false
	}
	switch {
	case first == '\\' && !s.escaped.has('\\'):
		end := afterSlashes(text, at)
		return end == len(text) || end == at+1 || text[end] != '\\' && s.second['\\'].has(text[end])
	case first == '&' && !s.escaped.has('&'):
		char, _, open := entity(text, at)
		return open || char != "" && s.escaped.has(char[0])
	}
	return true
}

// find returns the end of the longest match at a position of text, or -1. It returns open if the rest of the text may continue
// a match. Without a rest, the first half of a secret at the end of the text is a match, in case the source was cut within it.
func (s *stream) find(text []byte, at int, final bool) (end int, open bool) {
	end = -1
	for _, p := range s.secrets.byFirst[text[at]] {
		to, units := s.match(p, text, at)
		if p.word {
			if to >= 0 && to == len(text) && !final {
				return -1, true
			}
			if to >= 0 && !s.alone(text, at, to) {
				to = -1
			}
		}
		switch {
		case units >= 0 && !final:
			return -1, true
		case to < 0 && !p.word && units >= max(shortWord, (len(p.units)+1)/2):
			to = len(text)
		}
		end = max(end, to)
	}
	return end, false
}

// match returns the end of the longest match of p at a position of text, or -1. If text ends within a longer one, it returns
// the number of complete units before the end of text, and otherwise -1.
func (s *stream) match(p *pattern, text []byte, at int) (end, units int) {
	units = -1
	from, to := append(s.scratch[0][:0], at), s.scratch[1][:0]
	for i, u := range p.units {
		to = to[:0]
		for _, at := range from {
			var open bool
			if to, open = u.ends(to, text, at); open {
				units = i
			}
		}
		if len(to) > 1 {
			slices.Sort(to)
			to = slices.Compact(to)
		}
		if from, to = to, from; len(from) == 0 {
			return -1, units
		}
	}
	s.scratch = [2][]int{from, to}
	return from[len(from)-1], units
}

// alone reports whether the text from start to end is a separate word.
func (s *stream) alone(text []byte, start, end int) bool {
	before := s.before
	if start > 0 {
		before = text[start-1]
	}
	return !isWordByte(before) && (end == len(text) || !isWordByte(text[end]))
}

func isWordByte(b byte) bool {
	return b == '_' || b == '-' || isAlphanumeric(b) || b >= 0x80
}

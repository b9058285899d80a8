package openaichat

const (
	maxSpaceBytes  = 200
	maxSpaceDeltas = 32 // a delta has at least one token
)

// runaway detects endless whitespace in an answer that must be JSON. A grammar allows whitespace between any two
// tokens, and a small model may write it up to its token limit. Whitespace within a string does not count.
type runaway struct {
	inString bool
	escaped  bool
	bytes    int // of the whitespace at the end of the text
	deltas   int // of only whitespace at the end of the text
}

// feed handles a piece of the answer and reports whether the whitespace exceeds a limit.
func (w *runaway) feed(piece string) bool {
	if piece == "" {
		return false
	}
	blank := true
	for i := range len(piece) {
		b := piece[i]
		switch {
		case !w.inString && isSpace(b):
			if w.bytes++; w.bytes >= maxSpaceBytes {
				return true
			}
			continue
		case w.escaped:
			w.escaped = false
		case w.inString:
			w.escaped = b == '\\'
			w.inString = b != '"'
		case b == '"':
			w.inString = true
		}
		blank = false
		w.bytes = 0
	}
	if !blank {
		w.deltas = 0
		return false
	}
	w.deltas++
	return w.deltas > maxSpaceDeltas
}

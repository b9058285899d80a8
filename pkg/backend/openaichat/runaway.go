package openaichat

const (
	maxSpaceBytes  = 200
	maxSpaceDeltas = 32 // a delta is a token at least
)

// runaway watches an answer that must be JSON for whitespace without end: to a grammar it is legal between any two
// tokens, and a small model may write it up to its token limit. Within a string nothing is counted.
type runaway struct {
	inString bool
	escaped  bool
	bytes    int // of the whitespace that the text ends with
	deltas   int // that were whitespace only, likewise
}

// feed takes a piece of the answer and reports whether the model has run away.
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

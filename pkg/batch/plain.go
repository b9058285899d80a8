package batch

import "bytes"

// PlainJSON undoes the escapes of <, > and & in the line of a result, so that a prompt shows the plain characters.
func PlainJSON(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			out = append(out, text[i])
			continue
		}
		rest := text[i:]
		switch {
		case bytes.HasPrefix(rest, []byte(`\u003c`)):
			out, i = append(out, '<'), i+5
		case bytes.HasPrefix(rest, []byte(`\u003e`)):
			out, i = append(out, '>'), i+5
		case bytes.HasPrefix(rest, []byte(`\u0026`)):
			out, i = append(out, '&'), i+5
		default:
			out, i = append(out, rest[0], rest[1]), i+1
		}
	}
	return out
}

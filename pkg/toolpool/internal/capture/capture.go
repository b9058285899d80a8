// Package capture keeps the beginning of an output of any length.
package capture

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// Head is a writer that keeps the first bytes, at most its limit, and counts the rest. It takes no lock.
type Head struct {
	buf   bytes.Buffer
	limit int
	total int64
}

// NewHead makes a Head that keeps limit bytes.
func NewHead(limit int) *Head { return &Head{limit: limit} }

// Write never fails.
func (h *Head) Write(p []byte) (int, error) {
	h.total += int64(len(p))
	h.buf.Write(p[:min(len(p), h.limit-h.buf.Len())])
	return len(p), nil
}

// Kept is what was kept, without a note.
func (h *Head) Kept() string { return h.buf.String() }

// Text is what was kept, and a note that says how much there was if that is not all. UTF-8 is cut between characters.
func (h *Head) Text() string {
	text := h.buf.Bytes()
	if h.total <= int64(len(text)) {
		return string(text)
	}
	for n := 1; n < utf8.UTFMax && !utf8.Valid(text); n++ {
		text = text[:len(text)-1]
	}
	return fmt.Sprintf("%s\n[cut: the first %d of %d bytes]", text, len(text), h.total)
}

// Package capture keeps the beginning of an output of any length.
package capture

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// Head is a writer that keeps the first bytes, up to its limit, and counts the rest. It is not safe for concurrent use.
type Head struct {
	buf   bytes.Buffer
	limit int
	total int64
}

// NewHead returns a Head that keeps limit bytes.
func NewHead(limit int) *Head { return &Head{limit: limit} }

// Write never fails.
func (h *Head) Write(p []byte) (int, error) {
	h.total += int64(len(p))
	h.buf.Write(p[:min(len(p), h.limit-h.buf.Len())])
	return len(p), nil
}

// Kept returns the kept bytes, without a note.
func (h *Head) Kept() string { return h.buf.String() }

// Text returns the kept bytes. If bytes were dropped, it appends a note with the total. It cuts UTF-8 between characters.
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

// Cut reports whether bytes were dropped.
func (h *Head) Cut() bool { return h.total > int64(h.buf.Len()) }

package endpoint

import (
	"io"
	"strings"

	"github.com/batchagent/batchagent/pkg/backend"
)

// redactor redacts a text that arrives in pieces.
type redactor struct {
	pieces Pieces
	report func(piece string)
	to     io.WriteCloser // nil before the first piece: the secrets may be known only then
	silent bool           // no further piece is reported
}

func (r *redactor) add(piece string) {
	if r.silent {
		return
	}
	if r.to == nil {
		r.to = r.pieces.Secrets().Writer(reported(func(piece string) { r.report(piece) }))
	}
	_, _ = io.WriteString(r.to, piece) // reported never fails
}

// end reports the text that was held back, because something else begins. Later pieces might complete a secret that this text begins.
// So they are not reported, unless nothing was held back.
func (r *redactor) end() {
	if r.to == nil || r.silent {
		return
	}
	report := r.report
	r.report = func(piece string) {
		r.silent = true
		report(piece)
	}
	_ = r.to.Close() // reported never fails
	r.to, r.report = nil, report
}

// reported is a writer that calls a function.
type reported func(piece string)

func (f reported) Write(p []byte) (int, error) {
	if len(p) > 0 {
		f(string(p))
	}
	return len(p), nil
}

// observeReasoning redacts the reasoning that o observes. A redacted block loses its signature, because that no longer matches. end
// reports the text that was held back.
func (p Pieces) observeReasoning(o *backend.Observer) (end func()) {
	report, block := o.Reasoning, o.ReasoningBlock
	if report == nil && block == nil {
		return func() {}
	}
	var raw, shown strings.Builder // of the current block
	text := &redactor{pieces: p, report: func(piece string) {
		if block != nil {
			shown.WriteString(piece)
		}
		if report != nil {
			report(piece)
		}
	}}
	o.Reasoning = func(piece string) {
		if block != nil {
			raw.WriteString(piece)
		}
		text.add(piece)
	}
	if block == nil {
		return text.end
	}
	o.ReasoningBlock = func(protocol backend.Protocol, b backend.ReasoningBlock) {
		text.end()
		text.silent = false
		if raw.String() != shown.String() {
			protocol, b = "", backend.ReasoningBlock{Bytes: shown.Len(), After: b.After}
		}
		raw.Reset()
		shown.Reset()
		block(protocol, b)
	}
	return text.end
}

package blocks

import (
	"strings"
	"unicode/utf8"

	"github.com/batchagent/batchagent/pkg/backend"
)

// thoughtCost is the cost of one block of reasoning against maxTurnBytes, beside its text.
const thoughtCost = 64

// thought is one block of reasoning.
type thought struct {
	block     int // the server's index
	after     int
	text      strings.Builder
	signature strings.Builder
	redacted  strings.Builder
	ended     bool // reported to the observer
}

// Reasoning adds a piece of the text of a reasoning block.
func (t *Turn) Reasoning(block int, s string) error {
	x, cost := t.thought(block)
	x.text.WriteString(s)
	if err := t.grow(cost+len(s), s != ""); err != nil {
		return err
	}
	// A piece that is not valid UTF-8 may be a part of a character. The whole text arrives with the response.
	t.silent = t.silent || x.ended || !utf8.ValidString(s)
	if report := t.observer.Reasoning; report != nil && s != "" && !t.silent {
		report(s)
	}
	return nil
}

// endThought reports the last block of reasoning, if it is not empty.
func (t *Turn) endThought() {
	if len(t.thoughts) == 0 {
		return
	}
	x := t.thoughts[len(t.thoughts)-1]
	b, _ := x.done()
	if report := t.observer.ReasoningBlock; report != nil && !x.ended && !t.silent && b != (backend.ReasoningBlock{}) {
		b.After = x.after
		report(t.protocol, b)
	}
	x.ended = true
}

// done returns the block and its text.
func (x *thought) done() (backend.ReasoningBlock, string) {
	text := strings.ToValidUTF8(x.text.String(), "\uFFFD") // JSON would replace it and change the lengths
	return backend.ReasoningBlock{Bytes: len(text), Signature: x.signature.String(), Redacted: x.redacted.String()}, text
}

// Sign adds a piece of the signature of a reasoning block.
func (t *Turn) Sign(block int, s string) error {
	x, cost := t.thought(block)
	x.signature.WriteString(s)
	return t.grow(cost+len(s), false)
}

// Redact adds a piece of the encrypted data of a reasoning block.
func (t *Turn) Redact(block int, s string) error {
	x, cost := t.thought(block)
	x.redacted.WriteString(s)
	return t.grow(cost+len(s), s != "")
}

// thought returns the reasoning block at an index, and its cost if it is new.
func (t *Turn) thought(block int) (x *thought, cost int) {
	if n := len(t.thoughts); n > 0 && t.thoughts[n-1].block == block {
		return t.thoughts[n-1], 0
	}
	t.endThought()
	x = &thought{block: block, after: len(t.calls)}
	if strings.TrimSpace(t.text.String()) != "" {
		x.after++
	}
	t.thoughts = append(t.thoughts, x)
	return x, thoughtCost
}

// reasoning returns the turn's reasoning; nil if it has none. Empty blocks are omitted.
func (t *Turn) reasoning() *backend.Reasoning {
	r := &backend.Reasoning{Protocol: t.protocol}
	var all strings.Builder
	for _, x := range t.thoughts {
		b, text := x.done()
		if b == (backend.ReasoningBlock{}) {
			continue
		}
		b.After = x.after
		all.WriteString(text)
		r.Blocks = append(r.Blocks, b)
	}
	if len(r.Blocks) == 0 {
		return nil
	}
	r.Text = all.String()
	return r
}

// Thought is a block of reasoning in a conversation.
type Thought struct {
	Text, Signature, Redacted string
}

// withReasoning inserts a message's reasoning at its original places between the other blocks.
func withReasoning(others []Block, r *backend.Reasoning) []Block {
	texts := r.Split()
	if len(texts) == 0 {
		return others
	}
	out := make([]Block, 0, len(others)+len(texts))
	behind := 0 // others already in out
	for i, b := range r.Blocks {
		for behind < min(b.After, len(others)) {
			out = append(out, others[behind])
			behind++
		}
		out = append(out, Block{Thought: &Thought{Text: texts[i], Signature: b.Signature, Redacted: b.Redacted}})
	}
	return append(out, others[behind:]...)
}

// WithoutReasoning returns messages without reasoning, for a server that refuses it. It does not change the input.
func WithoutReasoning(in []backend.Message) []backend.Message {
	out := make([]backend.Message, len(in))
	for i, m := range in {
		m.Reasoning = nil
		out[i] = m
	}
	return out
}

// HasReasoning reports whether a message has reasoning that the protocol can send.
func HasReasoning(p backend.Protocol, in []backend.Message) bool {
	for _, m := range in {
		if len(m.Reasoning.For(p).Split()) > 0 {
			return true
		}
	}
	return false
}

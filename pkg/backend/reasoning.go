package backend

import (
	"encoding/json"
	"strings"
)

// Protocol names the wire protocol that produced a [Reasoning]. Only an adapter of the same protocol sends it back: a
// signature is valid only at the service that created it, and other services refuse it.
type Protocol string

// The protocols.
const (
	ProtocolChat      Protocol = "chat"      // OpenAI's chat completions
	ProtocolAnthropic Protocol = "anthropic" // Anthropic's Messages
	ProtocolBedrock   Protocol = "bedrock"   // Amazon Bedrock's Converse
)

// Reasoning is the reasoning of a message. The adapter can rebuild the server's own form from it. Its JSON form is part
// of a job's journal.
type Reasoning struct {
	Text     string   `json:"text,omitempty"`     // all readable reasoning, in order
	Protocol Protocol `json:"protocol,omitempty"` // "" is never sent back
	// Fields are the members of a chat message that carried Text, such as "reasoning_content".
	Fields []string `json:"fields,omitempty"`
	// Extra holds the other members of a chat message that carry reasoning, such as "reasoning_details", with the
	// server's values.
	Extra map[string]json.RawMessage `json:"extra,omitempty"`
	// Blocks divide Text into blocks, for Anthropic's and Bedrock's protocols.
	Blocks []ReasoningBlock `json:"blocks,omitempty"`
}

// ReasoningBlock is one block of reasoning. The blocks' texts follow each other in Reasoning.Text, beginning at its start.
type ReasoningBlock struct {
	Bytes     int    `json:"bytes,omitempty"`     // length of the block's text
	Signature string `json:"signature,omitempty"` // lets the service verify the text
	Redacted  string `json:"redacted,omitempty"`  // encrypted reasoning; such a block has no text
	// After is the number of the message's other blocks before this one: 1 for its text unless blank, 1 for each call.
	After int `json:"after,omitempty"`
}

// ReasoningText returns the readable reasoning of the message, "" if it has none.
func (m Message) ReasoningText() string {
	if m.Reasoning == nil {
		return ""
	}
	return m.Reasoning.Text
}

// For returns r if its protocol is p, and otherwise nil. r may be nil.
func (r *Reasoning) For(p Protocol) *Reasoning {
	if r == nil || r.Protocol != p {
		return nil
	}
	return r
}

// Split returns the text of each block. It returns nil if the blocks do not cover the text exactly.
func (r *Reasoning) Split() []string {
	if r == nil {
		return nil
	}
	rest := r.Text
	var texts []string
	for _, b := range r.Blocks {
		if b.Bytes < 0 || b.Bytes > len(rest) {
			return nil
		}
		texts, rest = append(texts, rest[:b.Bytes]), rest[b.Bytes:]
	}
	if rest != "" {
		return nil
	}
	return texts
}

// Bytes returns the total size of the parts that are sent back.
func (r *Reasoning) Bytes() int {
	if r == nil {
		return 0
	}
	n := len(r.Text)
	for name, value := range r.Extra {
		n += len(name) + len(value)
	}
	for _, b := range r.Blocks {
		n += len(b.Signature) + len(b.Redacted)
	}
	return n
}

const reasoningCut = "\n[… reasoning shortened …]\n"

// Bounded returns r if it has at most limit bytes. A longer r loses its blocks and extra members first, because part of
// a signed block is useless. A text that is still too long loses its middle. A server that signs its reasoning gets
// none of a shortened one; other servers get the shortened text. The limit must exceed 100 bytes.
func (r *Reasoning) Bounded(limit int) *Reasoning {
	if r.Bytes() <= limit {
		return r
	}
	short := &Reasoning{Text: r.Text, Protocol: r.Protocol, Fields: r.Fields}
	if len(r.Blocks) > 0 {
		short.Protocol = ""
	}
	if len(short.Text) > limit {
		half := (limit - len(reasoningCut)) / 2
		head := strings.ToValidUTF8(short.Text[:half], "")
		tail := strings.ToValidUTF8(short.Text[len(short.Text)-half:], "")
		short.Text = head + reasoningCut + tail
	}
	return short
}

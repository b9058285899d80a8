package openaichat

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/batchagent/batchagent/pkg/backend"
)

const (
	// maxThoughts limits the blocks of reasoning of one turn. A turn with more keeps its text only.
	maxThoughts = 4096
	// thoughtCost is the cost of one block against the turn's limit, beside its text.
	thoughtCost = 64
)

// thoughtDelta holds the members of a delta that carry reasoning. Servers use different names for the same content, and
// some send two of them. A member of an unexpected JSON type is ignored.
type thoughtDelta struct {
	ReasoningContent textOnly `json:"reasoning_content"` // DeepSeek, SGLang, Kimi, MiniMax, older vLLM
	Reasoning        textOnly `json:"reasoning"`         // vLLM, OpenRouter, Groq
	ReasoningText    textOnly `json:"reasoning_text"`    // GitHub Copilot
	Thinking         textOnly `json:"thinking"`

	ReasoningDetails json.RawMessage `json:"reasoning_details"` // OpenRouter, MiniMax: a list of blocks
	ThinkingBlocks   json.RawMessage `json:"thinking_blocks"`   // LiteLLM: a list of blocks
	ReasoningOpaque  json.RawMessage `json:"reasoning_opaque"`  // GitHub Copilot
	ExtraContent     json.RawMessage `json:"extra_content"`     // Gemini: the signature of a text
}

// textOnly is a string member. A value of another type is ignored.
type textOnly string

// UnmarshalJSON accepts any JSON value. A value that is not a string becomes "".
func (l *textOnly) UnmarshalJSON(data []byte) error {
	*l = ""
	if len(data) > 0 && data[0] == '"' {
		*l = textOnly(plain(data))
	}
	return nil
}

// thoughts assembles a turn's reasoning.
type thoughts struct {
	texts []*thought                 // by member, in order of arrival
	lists []*blockList               // by member, in order of arrival
	whole map[string]json.RawMessage // members that arrive in one piece
	fresh string                     // the newest piece of the first member of texts
}

// takeFresh returns the text that was added to the readable reasoning since the last call.
func (t *thoughts) takeFresh() string {
	fresh := t.fresh
	t.fresh = ""
	return fresh
}

type thought struct {
	field string
	text  strings.Builder
}

// add handles a delta. It returns the size of the delta's reasoning.
func (t *thoughts) add(d *thoughtDelta) (size int) {
	size += t.text("reasoning_content", string(d.ReasoningContent))
	size += t.text("reasoning", string(d.Reasoning))
	size += t.text("reasoning_text", string(d.ReasoningText))
	size += t.text("thinking", string(d.Thinking))
	size += t.list("reasoning_details", d.ReasoningDetails)
	size += t.list("thinking_blocks", d.ThinkingBlocks)
	size += t.one("reasoning_opaque", d.ReasoningOpaque)
	size += t.one("extra_content", d.ExtraContent)
	return size
}

// text appends a piece of text to a member.
func (t *thoughts) text(field, piece string) int {
	if piece == "" {
		return 0
	}
	i := slices.IndexFunc(t.texts, func(x *thought) bool { return x.field == field })
	if i < 0 {
		i = len(t.texts)
		t.texts = append(t.texts, &thought{field: field})
	}
	t.texts[i].text.WriteString(piece)
	if i == 0 {
		t.fresh += piece
	}
	return len(piece)
}

// list appends pieces of blocks to a member.
func (t *thoughts) list(field string, pieces json.RawMessage) int {
	var blocks []map[string]json.RawMessage
	if isEmptyJSON(pieces) || json.Unmarshal(pieces, &blocks) != nil {
		return 0
	}
	i := slices.IndexFunc(t.lists, func(l *blockList) bool { return l.field == field })
	if i < 0 {
		i = len(t.lists)
		t.lists = append(t.lists, &blockList{field: field})
	}
	for _, b := range blocks {
		t.lists[i].add(b)
	}
	return len(pieces) + thoughtCost*len(blocks)
}

// one sets a member. A server may send it repeatedly.
func (t *thoughts) one(field string, value json.RawMessage) int {
	if isEmptyJSON(value) {
		return 0
	}
	if t.whole == nil {
		t.whole = map[string]json.RawMessage{}
	}
	t.whole[field] = slices.Clone(value)
	return len(value)
}

// reasoning returns the reasoning of the turn's message; nil without reasoning.
func (t *thoughts) reasoning() *backend.Reasoning {
	r := &backend.Reasoning{Protocol: backend.ProtocolChat, Extra: t.whole}
	for _, l := range t.lists {
		if value := l.json(); value != nil {
			if r.Extra == nil {
				r.Extra = map[string]json.RawMessage{}
			}
			r.Extra[l.field] = value
		}
	}
	for i, x := range t.texts {
		switch {
		case i == 0:
			r.Text, r.Fields = joined(x.text.String()), []string{x.field}
		case joined(x.text.String()) == r.Text:
			r.Fields = append(r.Fields, x.field)
		default: // two different members: both are kept
			value, _ := json.Marshal(joined(x.text.String())) // a string always encodes
			if r.Extra == nil {
				r.Extra = map[string]json.RawMessage{}
			}
			r.Extra[x.field] = value
		}
	}
	if r.Text == "" {
		for _, l := range t.lists {
			r.Text += l.plain()
		}
	}
	if r.Text == "" && len(r.Extra) == 0 {
		return nil
	}
	return r
}

// blockList joins the pieces of a list of blocks that arrives in deltas.
type blockList struct {
	field  string
	blocks []*block
	placed map[string]*block // the last block of a type and index
	over   bool              // the list has too many blocks
}

// block is one block of reasoning. Its texts are collected separately, because they arrive in many pieces.
type block struct {
	members map[string]json.RawMessage
	texts   map[string]*strings.Builder
}

// blockTexts are the members of a block that arrive in pieces. Any other member keeps its last value.
var blockTexts = map[string]bool{"text": true, "summary": true, "thinking": true}

// add appends a piece to the block that it continues, or starts a block.
func (l *blockList) add(piece map[string]json.RawMessage) {
	if l.over {
		return
	}
	b := l.continued(piece)
	if b == nil {
		if l.over = len(l.blocks) >= maxThoughts; l.over {
			return
		}
		b = &block{members: map[string]json.RawMessage{}, texts: map[string]*strings.Builder{}}
		l.blocks = append(l.blocks, b)
		if place := placeOf(piece); place != "" {
			if l.placed == nil {
				l.placed = map[string]*block{}
			}
			l.placed[place] = b
		}
	}
	for name, value := range piece {
		if blockTexts[name] && len(value) > 1 && value[0] == '"' {
			if b.texts[name] == nil {
				b.texts[name] = new(strings.Builder)
			}
			b.texts[name].WriteString(plain(value))
			continue
		}
		if _, has := b.members[name]; !has || !isEmptyJSON(value) {
			b.members[name] = slices.Clone(value)
		}
	}
}

// placeOf returns the type and index of a piece; "" without an index.
func placeOf(piece map[string]json.RawMessage) string {
	if isEmptyJSON(piece["index"]) {
		return ""
	}
	return string(piece["type"]) + " " + string(piece["index"])
}

// continued returns the block that a piece belongs to; nil for a new block. A piece with an index belongs to the block
// with its type and index. Any other piece belongs to the last block, if that has the same type and no signature yet.
// Encrypted data arrives in one piece, so different data starts another block.
func (l *blockList) continued(piece map[string]json.RawMessage) *block {
	b := l.placed[placeOf(piece)]
	if n := len(l.blocks); b == nil && placeOf(piece) == "" && n > 0 {
		b = l.blocks[n-1]
		if placeOf(b.members) != "" || !bytes.Equal(b.members["type"], piece["type"]) || !isEmptyJSON(b.members["signature"]) {
			return nil
		}
	}
	if b != nil && !isEmptyJSON(piece["data"]) && !isEmptyJSON(b.members["data"]) && !bytes.Equal(piece["data"], b.members["data"]) {
		return nil
	}
	return b
}

// json returns the list; nil if it has no blocks or too many.
func (l *blockList) json() json.RawMessage {
	if len(l.blocks) == 0 || l.over {
		return nil
	}
	out := make([]map[string]json.RawMessage, len(l.blocks))
	for i, b := range l.blocks {
		out[i] = b.members
		for name, text := range b.texts {
			out[i][name], _ = json.Marshal(joined(text.String())) // a string always encodes
		}
	}
	value, err := json.Marshal(out) // members are sorted, so equal lists give equal bytes
	if err != nil {
		return nil
	}
	return value
}

// plain returns the readable text of the blocks.
func (l *blockList) plain() string {
	var all strings.Builder
	for _, b := range l.blocks {
		for _, name := range []string{"text", "summary", "thinking"} {
			if t := b.texts[name]; t != nil {
				all.WriteString(joined(t.String()))
			}
		}
	}
	return all.String()
}

// isEmptyJSON reports whether a member is missing, null or an empty value. In a delta all of them are equivalent.
func isEmptyJSON(value json.RawMessage) bool {
	switch string(value) {
	case "", "null", `""`:
		return true
	}
	n := len(value)
	return (value[0] == '{' || value[0] == '[') && len(bytes.TrimSpace(value[1:n-1])) == 0
}

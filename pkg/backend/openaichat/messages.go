package openaichat

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	openai "github.com/sashabaranov/go-openai"

	"github.com/batchagent/batchagent/pkg/backend"
)

// message is one message of the protocol, with its members in order. go-openai's type cannot hold members that servers add.
type message []Field

// MarshalJSON encodes the members in order. Equal messages give equal bytes.
func (m message) MarshalJSON() ([]byte, error) { return m.appendTo(nil) }

// appendTo appends the encoded message. Encoders of other types check and copy what a MarshalJSON returns, once for each level.
func (m message) appendTo(out []byte) ([]byte, error) {
	var err error
	for i, f := range m {
		separator := byte(',')
		if i == 0 {
			separator = '{'
		}
		if out, err = f.appendTo(append(out, separator)); err != nil {
			return nil, err
		}
	}
	if len(m) == 0 {
		out = append(out, '{')
	}
	return append(out, '}'), nil
}

// appendTo appends a name, a colon and a value.
func (f Field) appendTo(out []byte) ([]byte, error) {
	name, _ := json.Marshal(f.Name) // a string always encodes
	out = append(append(out, name...), ':')
	var err error
	switch v := f.Value.(type) {
	case message:
		return v.appendTo(out)
	case []message:
		out = append(out, '[')
		for i, m := range v {
			if i > 0 {
				out = append(out, ',')
			}
			if out, err = m.appendTo(out); err != nil {
				return nil, err
			}
		}
		return append(out, ']'), nil
	}
	value, err := json.Marshal(f.Value)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", f.Name, err)
	}
	return append(out, value...), nil
}

// size estimates the length of the encoded message.
func (m message) size() (n int) {
	for _, f := range m {
		text, _ := f.Value.(string)
		n += len(f.Name) + len(text) + len(text)/8 + 6
	}
	return n
}

// with appends a member, unless the server refuses it or the message already has it.
func (m message) with(name string, value any, refused func(member string) bool) message {
	if refused != nil && refused(name) || slices.ContainsFunc(m, func(f Field) bool { return f.Name == name }) {
		return m
	}
	return append(m, Field{name, value})
}

// messages encodes a conversation. refused reports whether the server refuses a member outside of the protocol; nil refuses none.
func messages(in []backend.Message, refused func(member string) bool) []message {
	out := make([]message, len(in))
	for i, m := range in {
		w := message{{"role", string(m.Role)}}
		r := m.Reasoning.For(backend.ProtocolChat)
		switch {
		case len(m.Parts) > 0:
			w = append(w, Field{"content", contentParts(m.Parts)})
		case r != nil && slices.Contains(r.Fields, thinkingParts) && (refused == nil || !refused(thinkingParts)):
			w = append(w, Field{"content", partsOf(r.Text, m.Content)})
		case m.Content != "" || len(m.ToolCalls) == 0:
			w = append(w, Field{"content", m.Content})
		}
		w = withReasoning(w, r, refused)
		if len(m.ToolCalls) > 0 {
			calls := make([]message, len(m.ToolCalls))
			for j, c := range m.ToolCalls {
				calls[j] = callMessage(c, refused)
			}
			w = append(w, Field{"tool_calls", calls})
		}
		if m.ToolCallID != "" {
			w = append(w, Field{"tool_call_id", m.ToolCallID})
		}
		out[i] = w
	}
	return out
}

// withReasoning adds reasoning under the names of its original members.
func withReasoning(w message, r *backend.Reasoning, refused func(string) bool) message {
	if r == nil {
		return w
	}
	for _, name := range r.Fields {
		if name != thinkingParts {
			w = w.with(name, r.Text, refused)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Extra)) {
		w = w.with(name, r.Extra[name], refused)
	}
	return w
}

// thinkingParts is the pseudo-field for reasoning that came in the content, as parts of type "thinking". Mistral's
// models send it so.
const thinkingParts = "thinking parts"

type textPart struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

type thinkingPart struct {
	Type     string     `json:"type"`
	Thinking []textPart `json:"thinking"`
}

// partsOf encodes a content with reasoning before its text.
func partsOf(reasoning, text string) []any {
	parts := []any{thinkingPart{"thinking", []textPart{{"text", reasoning}}}}
	if text != "" {
		parts = append(parts, textPart{"text", text})
	}
	return parts
}

type imagePart struct {
	Type  string   `json:"type"`
	Image imageURL `json:"image_url"`
}

type imageURL struct {
	URL    string `json:"url"`
	Detail string `json:"detail,omitempty"`
}

// contentParts encodes a content of several parts.
func contentParts(in []backend.Part) []any {
	out := make([]any, len(in))
	for i, p := range in {
		switch {
		case p.Other != nil:
			out[i] = p.Other
		case p.Image != "":
			out[i] = imagePart{"image_url", imageURL{p.Image, p.Detail}}
		default:
			out[i] = textPart{"text", p.Text}
		}
	}
	return out
}

// callMessage encodes a tool call with its original members.
func callMessage(c backend.ToolCall, refused func(string) bool) message {
	if c.Arguments == "" {
		c.Arguments = "{}" // the member is required
	}
	more := readExtras(c.Extra)
	function := message{{"name", c.Name}, {"arguments", c.Arguments}}
	for _, name := range slices.Sorted(maps.Keys(more.function)) {
		function = function.with(name, more.function[name], refused)
	}
	call := message{{"id", c.ID}, {"type", openai.ToolTypeFunction}, {functionMember, function}}
	for _, name := range slices.Sorted(maps.Keys(more.call)) {
		call = call.with(name, more.call[name], refused)
	}
	return call
}

// beyond lists the members of a conversation that are outside of the protocol, each once, longest names first.
func beyond(in []backend.Message) []string {
	seen := map[string]bool{}
	for _, m := range in {
		if r := m.Reasoning.For(backend.ProtocolChat); r != nil {
			for _, name := range r.Fields {
				seen[name] = true
			}
			for name := range r.Extra {
				seen[name] = true
			}
		}
		for _, c := range m.ToolCalls {
			more := readExtras(c.Extra)
			for name := range more.call {
				seen[name] = true
			}
			for name := range more.function {
				seen[name] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(seen), func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
}

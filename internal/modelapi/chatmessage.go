package modelapi

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/batchagent/batchagent/pkg/backend"
)

// chatMessage reads a message of a chat completion. Members that it does not know are dropped, as the providers do with their own
// members in a conversation, such as annotations.
func (f *fields) chatMessage(at string, v value) (m backend.Message) {
	var content value
	var thoughts chatThoughts
	refusal := ""
	f.object(at, v, func(name string, v value) {
		switch name {
		case "role":
			m.Role = f.role(join(at, name), f.text(join(at, name), v))
		case "content":
			content = v
		case "tool_calls":
			f.list(join(at, name), v, maxMessages, func(at string, v value) { m.ToolCalls = append(m.ToolCalls, f.chatCall(at, v)) })
		case "tool_call_id":
			m.ToolCallID = f.text(join(at, name), v)
		case "refusal":
			refusal = f.text(join(at, name), v)
		case "function_call":
			f.fail(join(at, name), "is obsolete; use tool_calls")
		case "audio":
			f.fail(join(at, name), "a session has only text answers")
		default:
			thoughts.member(name, v)
		}
	})
	if f.failed != nil {
		return m
	}
	switch m.Role {
	case "":
		f.fail(join(at, "role"), "the field is required")
	case backend.RoleAssistant:
		m.Content = cmp.Or(f.assistantText(join(at, "content"), content, &thoughts), refusal)
		m.Reasoning = thoughts.reasoning()
	case backend.RoleTool:
		if m.ToolCallID == "" {
			f.fail(join(at, "tool_call_id"), "the field is required")
		}
		fallthrough
	default:
		m.ToolCalls = nil
		if !content.exists() {
			f.fail(join(at, "content"), "the field is required")
			return m
		}
		m.Content, m.Parts = f.content(join(at, "content"), content)
	}
	return m
}

// role reads a role. A developer's message is the same as a system message: only new models of OpenAI distinguish the names.
func (f *fields) role(at, role string) backend.Role {
	switch role {
	case "system", "developer":
		return backend.RoleSystem
	case "user", "assistant", "tool":
		return backend.Role(role)
	default:
		f.fail(at, `must be "system", "developer", "user", "assistant" or "tool"; got %q`, role)
		return ""
	}
}

// content reads a text, or a list of parts. A list of one text is that text.
func (f *fields) content(at string, v value) (string, []backend.Part) {
	if v.isString() {
		return v.text(), nil
	}
	var parts []backend.Part
	f.list(at, v, maxMessages, func(at string, v value) { parts = append(parts, f.part(at, v)) })
	return simplest(parts)
}

// simplest returns parts as one text, if they are at most one text.
func simplest(parts []backend.Part) (string, []backend.Part) {
	switch {
	case len(parts) == 0:
		return "", nil
	case len(parts) == 1 && isText(parts[0]):
		return parts[0].Text, nil
	}
	return "", parts
}

func isText(p backend.Part) bool { return p.Image == "" && p.Other == nil }

// part reads a part of a message of either of OpenAI's APIs.
func (f *fields) part(at string, v value) (p backend.Part) {
	kind := ""
	f.object(at, v, func(name string, v value) {
		switch name {
		case "type":
			kind = f.text(join(at, name), v)
		case "text", "refusal":
			p.Text = f.text(join(at, name), v)
		case "detail":
			p.Detail = f.text(join(at, name), v)
		case "image_url":
			if v.isString() {
				p.Image = v.text()
				return
			}
			f.object(join(at, name), v, func(member string, v value) {
				switch member {
				case "url":
					p.Image = f.text(join(at, "image_url.url"), v)
				case "detail":
					p.Detail = f.text(join(at, "image_url.detail"), v)
				}
			})
		}
	})
	switch kind {
	case "text", "input_text", "output_text", "refusal":
		return backend.Part{Text: p.Text}
	case "image_url", "input_image":
		if p.Image == "" {
			f.fail(at, "an image must be a URL or a data URL; files of a provider are not available")
		}
		return backend.Part{Image: p.Image, Detail: p.Detail}
	case "":
		f.fail(join(at, "type"), "the field is required")
	case "input_file", "computer_screenshot":
		f.fail(at, "parts of the type %q are not available", kind)
	}
	return backend.Part{Other: raw(v)}
}

// assistantText reads the content of an assistant's message: its text, without reasoning in parts.
func (f *fields) assistantText(at string, v value, thoughts *chatThoughts) string {
	if v.isString() || !v.exists() {
		return v.text()
	}
	var text strings.Builder
	f.list(at, v, maxMessages, func(at string, v value) {
		if v.get("type").text() == "thinking" {
			thoughts.text(thinkingParts, thinkingText(v.get("thinking")))
			return
		}
		p := f.part(at, v)
		if !isText(p) {
			f.fail(at, "an assistant's message has only texts")
		}
		text.WriteString(p.Text)
	})
	return text.String()
}

// thinkingParts is the name of reasoning in parts of the type thinking, which Mistral's models send.
const thinkingParts = "thinking parts"

// thinkingText returns the text of such a part: a text, or a list of texts.
func thinkingText(v value) string {
	var all strings.Builder
	all.WriteString(v.text())
	v.values(func(p value) bool {
		all.WriteString(p.get("text").text())
		return true
	})
	return all.String()
}

// chatCall reads a tool call. Members outside of the protocol are kept: some servers demand them back.
func (f *fields) chatCall(at string, v value) (c backend.ToolCall) {
	var more, inner map[string]json.RawMessage
	keep := func(to *map[string]json.RawMessage, name string, v value) {
		if *to == nil {
			*to = map[string]json.RawMessage{}
		}
		(*to)[name] = raw(v)
	}
	hasFunction := false
	f.object(at, v, func(name string, v value) {
		switch name {
		case "id":
			c.ID = f.text(join(at, name), v)
		case "index":
		case "type":
			if kind := f.text(join(at, name), v); kind != "function" {
				f.fail(join(at, name), "only calls of the type function are available, not %q", kind)
			}
		case "function":
			hasFunction = true
			f.object(join(at, name), v, func(member string, v value) {
				switch member {
				case "name":
					c.Name = f.text(join(at, "function.name"), v)
				case "arguments":
					if c.Arguments = v.text(); !v.isString() {
						c.Arguments = v.raw // some clients send the object
					}
				default:
					keep(&inner, member, v)
				}
			})
		default:
			keep(&more, name, v)
		}
	})
	if f.failed == nil && (!hasFunction || c.ID == "") {
		f.fail(at, "a tool call needs id and function")
	}
	if inner != nil {
		if more == nil {
			more = map[string]json.RawMessage{}
		}
		more["function"], _ = json.Marshal(inner) //nolint:errchkjson // the values are valid JSON
	}
	if more != nil {
		c.Extra, _ = json.Marshal(more) //nolint:errchkjson // the values are valid JSON
	}
	return c
}

// The members of a chat message that carry reasoning.
var (
	thoughtTexts  = []string{"reasoning_content", "reasoning", "reasoning_text", "thinking", thinkingParts}
	thoughtExtras = []string{"reasoning_details", "thinking_blocks", "reasoning_opaque", "extra_content"}
)

// chatThoughts collects the reasoning of an assistant's message.
type chatThoughts struct {
	names  []string
	texts  []string
	extra  map[string]json.RawMessage
	blocks thoughtList
}

func (t *chatThoughts) member(name string, v value) {
	switch {
	case slices.Contains(thoughtTexts, name):
		t.text(name, v.text())
	case name == "thinking_blocks" && t.sealed(v):
	case slices.Contains(thoughtExtras, name) && !isNothing(v):
		if t.extra == nil {
			t.extra = map[string]json.RawMessage{}
		}
		t.extra[name] = raw(v)
	}
}

func (t *chatThoughts) text(name, text string) {
	if text != "" {
		t.names, t.texts = append(t.names, name), append(t.texts, text)
	}
}

// sealed reads blocks of reasoning that this package wrote. It returns false for others.
func (t *chatThoughts) sealed(v value) bool {
	var blocks []value
	v.values(func(b value) bool {
		blocks = append(blocks, b)
		return len(blocks) <= maxMessages
	})
	for _, b := range blocks {
		if !strings.HasPrefix(b.get("signature").text()+b.get("data").text(), sealPrefix) {
			return false
		}
	}
	for _, b := range blocks {
		s, ok := unseal(b.get("signature").text() + b.get("data").text())
		if !ok || len(s.Blocks) != 1 {
			return false
		}
		t.blocks.all.Protocol, t.blocks.used = s.Protocol, true
		s.Blocks[0].Bytes = len(b.get("thinking").text())
		t.blocks.all.Blocks = append(t.blocks.all.Blocks, s.Blocks[0])
		t.blocks.text.WriteString(b.get("thinking").text())
	}
	return len(blocks) > 0
}

// reasoning returns the reasoning; nil without any. Responses have reasoning_content beside the server's own member. So a second
// member with the same text is dropped.
func (t *chatThoughts) reasoning() *backend.Reasoning {
	if t.blocks.used {
		return t.blocks.reasoning()
	}
	if len(t.names) == 0 && t.extra == nil {
		return nil
	}
	r := &backend.Reasoning{Protocol: backend.ProtocolChat, Extra: t.extra}
	for i, name := range t.names {
		switch {
		case i == 0:
			r.Text, r.Fields = t.texts[0], []string{name}
		case t.texts[i] == r.Text && r.Fields[0] == "reasoning_content":
			r.Fields = []string{name}
		case t.texts[i] == r.Text && name == "reasoning_content":
		case t.texts[i] == r.Text:
			r.Fields = append(r.Fields, name)
		default:
			if r.Extra == nil {
				r.Extra = map[string]json.RawMessage{}
			}
			r.Extra[name], _ = json.Marshal(t.texts[i]) //nolint:errchkjson // a string always encodes
		}
	}
	return r
}

package modelapi

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/batchagent/batchagent/pkg/backend"
)

// chatMessage reads a message of a chat completion. Members that it does not know are dropped, as the providers do with their own
// members in a conversation, such as annotations.
func (f *fields) chatMessage(at string, v gjson.Result) (m backend.Message) {
	var content gjson.Result
	var thoughts chatThoughts
	refusal := ""
	f.object(at, v, func(name string, v gjson.Result) {
		switch name {
		case "role":
			m.Role = f.role(join(at, name), v)
		case "content":
			content = v
		case "tool_calls":
			f.list(join(at, name), v, maxMessages, func(at string, v gjson.Result) { m.ToolCalls = append(m.ToolCalls, f.chatCall(at, v)) })
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
		if !content.Exists() {
			f.fail(join(at, "content"), "the field is required")
			return m
		}
		m.Content, m.Parts = f.content(join(at, "content"), content)
	}
	return m
}

// role reads a role. A developer's message is the same as a system message: only new models of OpenAI distinguish the names.
func (f *fields) role(at string, v gjson.Result) backend.Role {
	switch role := f.text(at, v); role {
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
func (f *fields) content(at string, v gjson.Result) (string, []backend.Part) {
	if v.Type == gjson.String {
		return v.String(), nil
	}
	var parts []backend.Part
	f.list(at, v, maxMessages, func(at string, v gjson.Result) { parts = append(parts, f.part(at, v)) })
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
func (f *fields) part(at string, v gjson.Result) (p backend.Part) {
	kind := ""
	f.object(at, v, func(name string, v gjson.Result) {
		switch name {
		case "type":
			kind = f.text(join(at, name), v)
		case "text", "refusal":
			p.Text = f.text(join(at, name), v)
		case "detail":
			p.Detail = f.text(join(at, name), v)
		case "image_url":
			if v.Type == gjson.String {
				p.Image = v.String()
				return
			}
			f.object(join(at, name), v, func(member string, v gjson.Result) {
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
func (f *fields) assistantText(at string, v gjson.Result, thoughts *chatThoughts) string {
	if v.Type == gjson.String || !v.Exists() {
		return v.String()
	}
	var text strings.Builder
	f.list(at, v, maxMessages, func(at string, v gjson.Result) {
		if v.Get("type").String() == "thinking" {
			thoughts.member("thinking parts", thinkingText(v))
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

// thinkingText returns the text of a part of the type thinking, which Mistral's models send.
func thinkingText(part gjson.Result) gjson.Result {
	inner := part.Get("thinking")
	if !inner.IsArray() {
		return inner
	}
	var all strings.Builder
	for _, p := range inner.Array() {
		all.WriteString(p.Get("text").String())
	}
	return gjson.Result{Type: gjson.String, Str: all.String()}
}

// chatCall reads a tool call. Members outside of the protocol are kept: some servers demand them back.
func (f *fields) chatCall(at string, v gjson.Result) (c backend.ToolCall) {
	var more, inner map[string]json.RawMessage
	keep := func(to *map[string]json.RawMessage, name string, v gjson.Result) {
		if *to == nil {
			*to = map[string]json.RawMessage{}
		}
		(*to)[name] = raw(v)
	}
	hasFunction := false
	f.object(at, v, func(name string, v gjson.Result) {
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
			f.object(join(at, name), v, func(member string, v gjson.Result) {
				switch member {
				case "name":
					c.Name = f.text(join(at, "function.name"), v)
				case "arguments":
					if c.Arguments = v.String(); v.Type != gjson.String {
						c.Arguments = v.Raw // some clients send the object
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
	thoughtTexts  = []string{"reasoning_content", "reasoning", "reasoning_text", "thinking", "thinking parts"}
	thoughtExtras = []string{"reasoning_details", "thinking_blocks", "reasoning_opaque", "extra_content"}
)

// chatThoughts collects the reasoning of an assistant's message.
type chatThoughts struct {
	names  []string
	texts  []string
	extra  map[string]json.RawMessage
	blocks thoughtList
}

func (t *chatThoughts) member(name string, v gjson.Result) {
	switch {
	case slices.Contains(thoughtTexts, name):
		if v.Type == gjson.String && v.String() != "" {
			t.names, t.texts = append(t.names, name), append(t.texts, v.String())
		}
	case name == "thinking_blocks" && t.sealed(v):
	case slices.Contains(thoughtExtras, name) && !isNothing(v):
		if t.extra == nil {
			t.extra = map[string]json.RawMessage{}
		}
		t.extra[name] = raw(v)
	}
}

// sealed reads blocks of reasoning that this package wrote. It returns false for others.
func (t *chatThoughts) sealed(v gjson.Result) bool {
	blocks := v.Array()
	for _, b := range blocks {
		if !strings.HasPrefix(b.Get("signature").String()+b.Get("data").String(), sealPrefix) {
			return false
		}
	}
	for _, b := range blocks {
		s, ok := unseal(b.Get("signature").String() + b.Get("data").String())
		if !ok || len(s.Blocks) != 1 {
			return false
		}
		t.blocks.all.Protocol, t.blocks.used = s.Protocol, true
		s.Blocks[0].Bytes = len(b.Get("thinking").String())
		t.blocks.all.Blocks = append(t.blocks.all.Blocks, s.Blocks[0])
		t.blocks.text.WriteString(b.Get("thinking").String())
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

package modelapi

import (
	"slices"
	"strings"

	"github.com/batchagent/batchagent/pkg/backend"
)

// droppedByResponses are fields of the Responses API that have no effect here: a session cuts no conversation by itself, runs no tool
// of the provider, and pads no stream.
var droppedByResponses = []string{"truncation", "max_tool_calls", "stream_options", "context_management"}

// decodeResponses reads a request of OpenAI's Responses API.
func decodeResponses(body value) (*request, *failure) {
	f := &fields{}
	q := &request{call: &backend.Request{}, choices: 1}
	c := q.call
	var system string
	var input items
	f.object("", body, func(name string, v value) {
		switch name {
		case "input":
			if v.isString() {
				input.messages = []backend.Message{{Role: backend.RoleUser, Content: v.text()}}
				return
			}
			f.list(name, v, maxMessages, func(at string, v value) { f.item(&input, at, v) })
		case "instructions":
			system = f.text(name, v)
		case "tools":
			f.list(name, v, maxTools, func(at string, v value) { c.Tools = append(c.Tools, f.responsesTool(at, v)) })
		case "tool_choice":
			f.chatToolChoice(q, name, v)
		case "text":
			f.object(name, v, func(member string, v value) {
				switch member {
				case "format":
					c.Schema = f.responseFormat(join(name, member), v)
				case "verbosity":
					f.extra(q, member, raw(v))
				}
			})
		case "reasoning":
			f.object(name, v, func(member string, v value) {
				if member == "effort" { // a summary is another model's work
					f.extra(q, "reasoning_effort", raw(v))
				}
			})
		case "max_output_tokens":
			c.Sampling.MaxTokens = f.positive(name, v, maxLimit)
		case "parallel_tool_calls":
			c.OneCall = !f.flag(name, v)
		case "background":
			if f.flag(name, v) {
				f.fail(name, "a session stores no responses; wait for the response")
			}
		case "include":
			f.include(q, name, v)
		default:
			if !f.common(q, name, v) && !isOneOf(name, droppedByResponses) {
				f.strictly(q, name, v)
			}
		}
	})
	if system != "" {
		c.Messages = append(c.Messages, backend.Message{Role: backend.RoleSystem, Content: system})
	}
	c.Messages = append(c.Messages, input.done()...)
	f.check(q, "input")
	return q, f.failed
}

func (f *fields) include(q *request, at string, v value) {
	for _, what := range f.strings(at, v, 64) {
		switch {
		case what == "reasoning.encrypted_content":
			q.sealed = true
		case strings.HasSuffix(what, "logprobs"):
			f.fail(at, "log probabilities are not available in a session")
		}
	}
}

// responsesTool reads a function. Tools that OpenAI's servers run are refused.
func (f *fields) responsesTool(at string, v value) backend.Tool {
	if kind := v.get("type"); kind.text() != "function" {
		f.fail(join(at, "type"), "only tools of the type function are available, not %q", kind.text())
		return backend.Tool{}
	}
	return f.function(at, v)
}

// items rebuilds a conversation from the items of an input. Reasoning, a text and calls of the assistant that follow each other are
// one message, as the model wrote them.
type items struct {
	messages []backend.Message
	current  *backend.Message // the assistant's message that is being built
}

// assistant returns the message that the next item of the assistant belongs to.
func (l *items) assistant() *backend.Message {
	if l.current == nil {
		l.current = &backend.Message{Role: backend.RoleAssistant}
	}
	return l.current
}

func (l *items) end() {
	if m := l.current; m != nil && m.Content != "" { // reasoning alone is no message
		l.messages = append(l.messages, *m)
	}
	l.current = nil
}

func (l *items) add(m backend.Message) {
	l.end()
	l.messages = append(l.messages, m)
}

func (l *items) done() []backend.Message {
	l.end()
	return l.messages
}

// item reads one item of an input.
func (f *fields) item(l *items, at string, v value) {
	var item struct {
		kind, role, callID, name, arguments, sealed string
		content, output                             value
	}
	f.object(at, v, func(name string, v value) {
		switch name {
		case "type":
			item.kind = f.text(join(at, name), v)
		case "role":
			item.role = f.text(join(at, name), v)
		case "call_id":
			item.callID = f.text(join(at, name), v)
		case "name":
			item.name = f.text(join(at, name), v)
		case "arguments":
			item.arguments = f.text(join(at, name), v)
		case "encrypted_content":
			item.sealed = f.text(join(at, name), v)
		case "content":
			item.content = v
		case "output":
			item.output = v
		}
	})
	if f.failed != nil {
		return
	}
	switch item.kind {
	case "", "message":
		f.messageItem(l, at, item.role, item.content)
	case "function_call":
		if item.callID == "" || item.name == "" {
			f.fail(at, "a call needs call_id and name")
		}
		m := l.assistant()
		m.ToolCalls = append(m.ToolCalls, backend.ToolCall{ID: item.callID, Name: item.name, Arguments: item.arguments})
	case "function_call_output":
		if item.callID == "" {
			f.fail(join(at, "call_id"), "the field is required")
		}
		m := backend.Message{Role: backend.RoleTool, ToolCallID: item.callID}
		if item.output.exists() {
			m.Content, m.Parts = f.content(join(at, "output"), item.output)
		}
		l.add(m)
	case "reasoning":
		l.reasoning(item.sealed, reasoningText(item.content))
	case "item_reference":
		f.fail(at, "a session stores no items; send the items themselves")
	default:
		f.fail(join(at, "type"), "items of the type %q are not available", item.kind)
	}
}

func (f *fields) messageItem(l *items, at, role string, content value) {
	r := f.role(join(at, "role"), role)
	if f.failed == nil && !content.exists() {
		f.fail(join(at, "content"), "the field is required")
	}
	if f.failed != nil {
		return
	}
	if r == backend.RoleAssistant {
		if m := l.current; m != nil && (m.Content != "" || len(m.ToolCalls) > 0) {
			l.end()
		}
		m := l.assistant()
		m.Content = f.assistantText(join(at, "content"), content, &chatThoughts{})
		return
	}
	m := backend.Message{Role: r}
	m.Content, m.Parts = f.content(join(at, "content"), content)
	l.add(m)
}

// reasoning adds the reasoning before the assistant's next text or calls.
func (l *items) reasoning(sealed, text string) {
	if m := l.current; m != nil && (m.Content != "" || len(m.ToolCalls) > 0) {
		l.end()
	}
	m := l.assistant()
	r, ok := unseal(sealed)
	switch {
	case ok:
	case text == "":
		return
	default:
		r = backend.Reasoning{Text: text, Protocol: backend.ProtocolChat, Fields: []string{"reasoning_content"}}
	}
	if before := m.Reasoning; before != nil {
		r.Text, r.Blocks = before.Text+r.Text, append(slices.Clip(before.Blocks), r.Blocks...)
		if r.Protocol != before.Protocol {
			r.Protocol, r.Blocks = "", nil // a mixture is sent to no service
		}
	}
	m.Reasoning = &r
}

// reasoningText returns the readable reasoning of an item.
func reasoningText(content value) string {
	var all strings.Builder
	content.values(func(p value) bool {
		all.WriteString(p.get("text").text())
		return true
	})
	return all.String()
}

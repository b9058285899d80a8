package modelapi

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/batchagent/batchagent/pkg/backend"
)

// droppedByMessages are fields of Anthropic's API that have no effect here: headers of clients in the body, wishes to an account, and
// edits of the context that a service would make.
var droppedByMessages = []string{
	"betas", "anthropic_beta", "anthropic_version", "context_management", "cache_control", "inference_geo", "speed", "billing_policy", "diagnostics",
	"fallbacks", "fallback_credit_token", "user_profile_id", "workspace_id",
}

// decodeMessages reads a request of Anthropic's Messages.
func decodeMessages(body value) (*request, *failure) {
	q, f := messagesRequest(body)
	if f.failed == nil && q.call.Sampling.MaxTokens == 0 {
		f.fail("max_tokens", "the field is required")
	}
	return q, f.failed
}

// decodeCount reads a request to count tokens.
func decodeCount(body value) (*request, *failure) {
	q, f := messagesRequest(body)
	return q, f.failed
}

func messagesRequest(body value) (*request, *fields) {
	f := &fields{}
	q := &request{call: &backend.Request{}, choices: 1}
	c := q.call
	var system []backend.Message
	f.object("", body, func(name string, v value) {
		switch name {
		case "messages":
			f.list(name, v, maxMessages, func(at string, v value) { c.Messages = append(c.Messages, f.blocksMessage(at, v)...) })
		case "system":
			system = f.system(name, v)
		case "tools":
			f.list(name, v, maxTools, func(at string, v value) { c.Tools = append(c.Tools, f.messagesTool(at, v)) })
		case "tool_choice":
			f.messagesToolChoice(q, name, v)
		case "max_tokens":
			c.Sampling.MaxTokens = f.positive(name, v, maxLimit)
		case "stop_sequences":
			c.Sampling.Stop = f.strings(name, v, maxStops)
		case "output_format":
			c.Schema = f.outputFormat(name, v)
		case "output_config":
			f.object(name, v, func(member string, v value) {
				switch member {
				case "format":
					c.Schema = f.outputFormat(join(name, member), v)
				case "effort": // model servers have no common form for it
				default:
					f.fail(join(name, member), "the field is not available in a session")
				}
			})
		case "thinking":
			if v.get("type").text() != "disabled" {
				f.extra(q, name, raw(v))
			}
		case "thread":
			f.refuseThread()
		default:
			if !f.common(q, name, v) && !isOneOf(name, droppedByMessages) {
				f.strictly(q, name, v)
			}
		}
	})
	c.Messages = append(system, c.Messages...)
	f.check(q, "messages")
	return q, f
}

// refuseThread refuses a conversation that the server would store. Clients read the details, and then send the whole conversation.
func (f *fields) refuseThread() {
	if f.failed == nil {
		f.failed = invalid("thread", "thread: a session stores no conversations; send the whole conversation with each request")
		f.failed.details = map[string]any{"error_code": "thread_unsupported_request", "unsupported": []string{"thread"}}
	}
}

// billingHeader starts a block that Claude Code puts before its system text. It differs between requests, so that no prefix of a
// conversation could be reused.
const billingHeader = "x-anthropic-billing-header:"

// system reads the system text: a text, or blocks of text.
func (f *fields) system(at string, v value) []backend.Message {
	text := ""
	if v.isString() {
		text = v.text()
	} else {
		var texts []string
		f.list(at, v, maxMessages, func(at string, v value) {
			p, ok := f.block(at, v)
			if ok && !isText(p) {
				f.fail(at, "the system text has only blocks of text")
			}
			if !strings.HasPrefix(p.Text, billingHeader) {
				texts = append(texts, p.Text)
			}
		})
		text = strings.Join(texts, "\n")
	}
	if text == "" {
		return nil
	}
	return []backend.Message{{Role: backend.RoleSystem, Content: text}}
}

// blocksMessage reads a message. A user's results of tools become messages of their own.
func (f *fields) blocksMessage(at string, v value) []backend.Message {
	role := ""
	var content value
	f.object(at, v, func(name string, v value) {
		switch name {
		case "role":
			role = f.text(join(at, name), v)
		case "content":
			content = v
		}
	})
	at = join(at, "content")
	switch {
	case f.failed != nil:
	case !content.exists():
		f.fail(at, "the field is required")
	case role == "system":
		return f.system(at, content)
	case role == "assistant":
		return []backend.Message{f.assistantBlocks(at, content)}
	case role == "user":
		return f.userBlocks(at, content)
	default:
		f.fail(at, `the role must be "user" or "assistant"; got %q`, role)
	}
	return nil
}

func (f *fields) userBlocks(at string, v value) (out []backend.Message) {
	if v.isString() {
		return []backend.Message{{Role: backend.RoleUser, Content: v.text()}}
	}
	var parts []backend.Part
	f.list(at, v, maxMessages, func(at string, v value) {
		if v.get("type").text() == "tool_result" {
			out = append(out, f.toolResult(at, v))
			return
		}
		if p, ok := f.block(at, v); ok {
			parts = append(parts, p)
		}
	})
	if len(parts) > 0 || len(out) == 0 {
		m := backend.Message{Role: backend.RoleUser}
		m.Content, m.Parts = simplest(parts)
		out = append(out, m)
	}
	return out
}

// toolResult reads the result of a tool. Its texts become one text, because many model servers accept nothing else from a tool.
func (f *fields) toolResult(at string, v value) backend.Message {
	m := backend.Message{Role: backend.RoleTool}
	failed := false
	f.object(at, v, func(name string, v value) {
		switch name {
		case "tool_use_id":
			m.ToolCallID = f.text(join(at, name), v)
		case "is_error":
			failed = v.raw == "true"
		case "content":
			if v.isString() {
				m.Content = v.text()
				return
			}
			var parts []backend.Part
			f.list(join(at, name), v, maxMessages, func(at string, v value) {
				if p, ok := f.block(at, v); ok {
					parts = append(parts, p)
				}
			})
			m.Content, m.Parts = joinedTexts(parts)
		}
	})
	if f.failed == nil && m.ToolCallID == "" {
		f.fail(join(at, "tool_use_id"), "the field is required")
	}
	if failed {
		m = markFailed(m)
	}
	return m
}

// markFailed puts a mark before the result of a tool that failed: most model servers have no field for it. A result that names an error
// itself is not changed.
func markFailed(m backend.Message) backend.Message {
	const mark = "Error: "
	if strings.Contains(strings.ToLower(m.Text()[:min(len(m.Text()), 80)]), "error") {
		return m
	}
	if len(m.Parts) > 0 {
		m.Parts = slices.Insert(m.Parts, 0, backend.Part{Text: strings.TrimSpace(mark)})
	} else {
		m.Content = strings.TrimSpace(mark + m.Content)
	}
	return m
}

// joinedTexts returns parts as one text, if all are texts.
func joinedTexts(parts []backend.Part) (string, []backend.Part) {
	texts := make([]string, len(parts))
	for i, p := range parts {
		if !isText(p) {
			return "", parts
		}
		texts[i] = p.Text
	}
	return strings.Join(texts, "\n"), nil
}

// block reads a text or an image. It returns false for a block without content.
func (f *fields) block(at string, v value) (p backend.Part, ok bool) {
	kind := ""
	var source value
	f.object(at, v, func(name string, v value) {
		switch name {
		case "type":
			kind = f.text(join(at, name), v)
		case "text":
			p.Text = f.text(join(at, name), v)
		case "source":
			source = v
		}
	})
	switch kind {
	case "text":
		return p, true
	case "image":
		return backend.Part{Image: f.source(join(at, "source"), source)}, true
	case "document":
		if source.get("type").text() == "text" {
			return backend.Part{Text: source.get("data").text()}, true
		}
		f.fail(at, "only documents of plain text are available")
	case "tool_reference": // names a tool that the request has
		return p, false
	case "":
		f.fail(join(at, "type"), "the field is required")
	default:
		f.fail(at, "blocks of the type %q are not available", kind)
	}
	return p, false
}

// source reads where an image is: its data, or a URL.
func (f *fields) source(at string, v value) string {
	kind, media, data, url := "", "", "", ""
	f.object(at, v, func(name string, v value) {
		switch name {
		case "type":
			kind = f.text(join(at, name), v)
		case "media_type":
			media = f.text(join(at, name), v)
		case "data":
			data = f.text(join(at, name), v)
		case "url":
			url = f.text(join(at, name), v)
		}
	})
	switch {
	case kind == "base64" && media != "" && data != "":
		return "data:" + media + ";base64," + data
	case kind == "url" && url != "":
		return url
	}
	f.fail(at, "must be base64 with media_type and data, or a URL; files of a provider are not available")
	return ""
}

// assistantBlocks reads an assistant's message.
func (f *fields) assistantBlocks(at string, v value) backend.Message {
	m := backend.Message{Role: backend.RoleAssistant}
	if v.isString() {
		m.Content = v.text()
		return m
	}
	var text strings.Builder
	var thoughts thoughtList
	f.list(at, v, maxMessages, func(at string, v value) {
		after := len(m.ToolCalls)
		if strings.TrimSpace(text.String()) != "" {
			after++
		}
		switch v.get("type").text() {
		case "thinking", "redacted_thinking":
			f.thinking(&thoughts, at, v, after)
		case "tool_use":
			m.ToolCalls = append(m.ToolCalls, f.toolUse(at, v))
		default:
			p, ok := f.block(at, v)
			if ok && !isText(p) {
				f.fail(at, "an assistant's message has only texts, reasoning and calls")
			}
			text.WriteString(p.Text)
		}
	})
	m.Content, m.Reasoning = text.String(), thoughts.reasoning()
	return m
}

func (f *fields) thinking(to *thoughtList, at string, v value, after int) {
	text, signature, data := "", "", ""
	f.object(at, v, func(name string, v value) {
		switch name {
		case "thinking":
			text = f.text(join(at, name), v)
		case "signature":
			signature = f.text(join(at, name), v)
		case "data":
			data = f.text(join(at, name), v)
		}
	})
	to.add(text, signature, data, after)
}

func (f *fields) toolUse(at string, v value) (c backend.ToolCall) {
	c.Arguments = "{}"
	f.object(at, v, func(name string, v value) {
		switch name {
		case "id":
			c.ID = f.text(join(at, name), v)
		case "name":
			c.Name = f.text(join(at, name), v)
		case "input":
			if !v.isObject() {
				f.fail(join(at, name), "must be an object")
			}
			c.Arguments = compact(v)
		}
	})
	if f.failed == nil && (c.ID == "" || c.Name == "") {
		f.fail(at, "a call needs id and name")
	}
	return c
}

// compact returns the JSON of a value without spaces, so that the formatting of a client does not matter.
func compact(v value) string {
	var b bytes.Buffer
	if json.Compact(&b, []byte(v.raw)) != nil {
		return v.raw
	}
	return b.String()
}

// messagesTool reads a tool. A tool that Anthropic's servers run is refused.
func (f *fields) messagesTool(at string, v value) backend.Tool {
	if kind := v.get("type"); kind.isString() && kind.text() != "custom" {
		f.fail(join(at, "type"), "only tools of the program are available, not %q", kind.text())
		return backend.Tool{}
	}
	return f.function(at, v)
}

func (f *fields) messagesToolChoice(q *request, at string, v value) {
	c := q.call
	kind := ""
	f.object(at, v, func(name string, v value) {
		switch name {
		case "type":
			kind = f.text(join(at, name), v)
		case "name":
			c.MustCall = f.text(join(at, name), v)
		case "disable_parallel_tool_use":
			c.OneCall = f.flag(join(at, name), v)
		}
	})
	switch kind {
	case "auto":
		c.ToolChoice = backend.ToolChoiceAuto
	case "none":
		c.ToolChoice = backend.ToolChoiceNone
	case "any", "tool":
		c.ToolChoice = backend.ToolChoiceRequired
	default:
		f.fail(join(at, "type"), `must be "auto", "any", "tool" or "none"; got %q`, kind)
	}
	switch {
	case kind != "tool":
		c.MustCall = ""
	case c.MustCall == "":
		f.fail(join(at, "name"), "the field is required")
	}
}

// outputFormat reads the schema of an answer. Anthropic's service always enforces it.
func (f *fields) outputFormat(at string, v value) *backend.Schema {
	s := &backend.Schema{Name: "answer"}
	f.object(at, v, func(name string, v value) {
		switch name {
		case "type":
			if kind := f.text(join(at, name), v); kind != "json_schema" {
				f.fail(join(at, name), `must be "json_schema"; got %q`, kind)
			}
		case "schema":
			s.JSON = f.schema(join(at, name), v)
		}
	})
	if f.failed == nil && s.JSON == nil {
		f.fail(join(at, "schema"), "the field is required")
	}
	return s
}

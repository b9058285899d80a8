package modelapi

import (
	"encoding/json"
	"strings"

	"github.com/batchagent/batchagent/pkg/backend"
)

// dropped are fields of requests that have no effect here. They belong to an account at a provider (user, metadata, store), or the
// session decides them (priority, cache keys).
var dropped = []string{
	"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
	"client_metadata", "access_programs", "moderation", "priority", "request_id", "rid", "session_id", "nvext",
}

// extensions are fields that model servers add to the APIs that have no unknown fields.
var extensions = []string{
	"top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "length_penalty", "logit_bias", "min_tokens",
	"stop_token_ids", "bad_words", "ignore_eos", "skip_special_tokens", "chat_template", "chat_template_kwargs", "mm_processor_kwargs", "cache_salt",
	"reasoning_effort", "verbosity",
}

// refusedFields are fields of requests that a session cannot obey, with the reason.
var refusedFields = map[string]string{
	"audio":                "a session has only text answers",
	"web_search_options":   "a model server searches nothing; give the program a tool",
	"functions":            "is obsolete; use tools",
	"function_call":        "is obsolete; use tool_choice",
	"top_logprobs":         "log probabilities are not available in a session",
	"prompt_logprobs":      "log probabilities are not available in a session",
	"previous_response_id": "a session stores no responses; send the whole input with each request",
	"conversation":         "a session stores no conversations; send the whole input with each request",
	"prompt":               "a session stores no prompts; send input and instructions",
	"container":            "a session has no containers",
	"mcp_servers":          "a model server calls no MCP servers; connect the program to them",
}

// common reads a field that all APIs have under one name. It returns false for an unknown one.
func (f *fields) common(q *request, name string, v value) bool {
	s := &q.call.Sampling
	switch name {
	case "model":
		q.model = f.text(name, v)
	case "stream":
		q.stream = f.flag(name, v)
	case "temperature":
		s.Temperature = f.number(name, v)
	case "top_p":
		s.TopP = f.number(name, v)
	default:
		return false
	}
	return true
}

// other reads a field of a chat completion that no case above has: it is dropped, refused, or sent to the model server unchanged.
func (f *fields) other(q *request, name string, v value) {
	why, refused := refusedFields[name]
	switch {
	case refused && !isNothing(v):
		f.fail(name, "%s", why)
	case refused, isOneOf(name, dropped):
	case isOneOf(name, ownFields):
		f.fail(name, "this API has no such field")
	default:
		f.extra(q, name, raw(v))
	}
}

// strictly reads a field of Responses or Messages as other does, but refuses an unknown one, as the providers do. A new field may change
// the meaning of the others, and model servers ignore it.
func (f *fields) strictly(q *request, name string, v value) {
	_, refused := refusedFields[name]
	if !refused && !isOneOf(name, dropped) && !isOneOf(name, ownFields) && !isOneOf(name, extensions) {
		f.fail(name, "the field is not available in a session")
		return
	}
	f.other(q, name, v)
}

// ownFields are fields of a model server's request that the adapters write.
var ownFields = []string{
	"model", "messages", "stream", "stream_options", "n", "tools", "tool_choice", "response_format",
	"temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "stop",
	"system", "toolConfig", "stop_sequences", "output_config",
}

func (f *fields) extra(q *request, name string, value json.RawMessage) {
	s := &q.call.Sampling
	if s.ExtraBody == nil {
		s.ExtraBody = map[string]json.RawMessage{}
	}
	s.ExtraBody[name] = value
}

// isNothing reports whether a value is false, 0 or empty.
func isNothing(v value) bool {
	switch strings.TrimSpace(v.raw) {
	case "false", "0", `""`, "[]", "{}":
		return true
	}
	return false
}

// decodeChat reads the request of a chat completion.
func decodeChat(body value) (*request, *failure) {
	f := &fields{}
	q := &request{call: &backend.Request{}, choices: 1}
	c := q.call
	var limit, newer int
	f.object("", body, func(name string, v value) {
		switch name {
		case "messages":
			c.Messages = make([]backend.Message, 0, min(strings.Count(v.raw, `"role"`), maxMessages))
			f.list(name, v, maxMessages, func(at string, v value) { c.Messages = append(c.Messages, f.chatMessage(at, v)) })
		case "tools":
			f.list(name, v, maxTools, func(at string, v value) { c.Tools = append(c.Tools, f.chatTool(at, v)) })
		case "tool_choice":
			f.chatToolChoice(q, name, v)
		case "response_format":
			c.Schema = f.responseFormat(name, v)
		case "max_tokens":
			limit = f.positive(name, v, maxLimit)
		case "max_completion_tokens":
			newer = f.positive(name, v, maxLimit)
		case "seed":
			seed := f.integer(name, v)
			c.Sampling.Seed = &seed
		case "stop":
			if v.isString() {
				c.Sampling.Stop = []string{v.text()}
			} else {
				c.Sampling.Stop = f.strings(name, v, maxStops)
			}
		case "n":
			q.choices = f.positive(name, v, maxChoices)
		case "stream_options":
			f.object(name, v, func(option string, v value) {
				if option == "include_usage" {
					q.usage = f.flag(join(name, option), v)
				}
			})
		case "parallel_tool_calls":
			c.OneCall = !f.flag(name, v)
		case "logprobs":
			if f.flag(name, v) {
				f.fail(name, "log probabilities are not available in a session")
			}
		case "modalities":
			for i, m := range f.strings(name, v, 8) {
				if m != "text" {
					f.fail(name, "value %d: a session has only text answers, not %q", i, m)
				}
			}
		default:
			if !f.common(q, name, v) {
				f.other(q, name, v)
			}
		}
	})
	c.Sampling.MaxTokens = limit
	if newer > 0 {
		c.Sampling.MaxTokens = newer
	}
	f.check(q, "messages")
	return q, f.failed
}

const (
	maxLimit = 1 << 30 // of completion tokens
	maxStops = 64
)

// check completes a request and checks what concerns several fields.
func (f *fields) check(q *request, messages string) {
	c := q.call
	if f.failed != nil {
		return
	}
	if len(c.Messages) == 0 {
		f.fail(messages, "at least one message is required")
		return
	}
	if c.Schema != nil && len(c.Tools) > 0 {
		c.Schema.BesideTools = true // the program asked for both
	}
	if c.ToolChoice != "" && c.ToolChoice != backend.ToolChoiceNone && len(c.Tools) == 0 {
		f.fail("tool_choice", "needs tools")
		return
	}
	if c.MustCall != "" {
		for _, t := range c.Tools {
			if t.Name == c.MustCall {
				return
			}
		}
		f.fail("tool_choice", "no tool has the name %q", c.MustCall)
	}
}

// chatTool reads a tool of a chat completion.
func (f *fields) chatTool(at string, v value) (t backend.Tool) {
	kind, has := "function", false
	f.object(at, v, func(name string, v value) {
		switch name {
		case "type":
			kind = f.text(join(at, name), v)
		case "function":
			t, has = f.function(join(at, name), v), true
		}
	})
	switch {
	case f.failed != nil:
	case kind != "function":
		f.fail(at+".type", "only tools of the type function are available, not %q", kind)
	case !has:
		f.fail(at+".function", "the field is required")
	}
	return t
}

// function reads the description of a tool.
func (f *fields) function(at string, v value) (t backend.Tool) {
	f.object(at, v, func(name string, v value) {
		switch name {
		case "name":
			t.Name = f.text(join(at, name), v)
		case "description":
			t.Description = f.text(join(at, name), v)
		case "parameters", "input_schema":
			t.Parameters = f.schema(join(at, name), v)
		case "strict":
			t.Strict = f.flag(join(at, name), v)
		}
	})
	if t.Name == "" {
		f.fail(join(at, "name"), "the field is required")
	}
	if t.Parameters == nil {
		t.Parameters = []byte(`{"type":"object","properties":{}}`)
	}
	return t
}

func (f *fields) schema(at string, v value) []byte {
	if !v.isObject() {
		f.fail(at, "must be an object")
		return nil
	}
	return raw(v)
}

// chatToolChoice reads a word, or the name of a tool.
func (f *fields) chatToolChoice(q *request, at string, v value) {
	if v.isString() {
		f.toolChoiceWord(q, at, v.text())
		return
	}
	kind, name := "", ""
	f.object(at, v, func(member string, v value) {
		switch member {
		case "type":
			kind = f.text(join(at, member), v)
		case "name": // of the Responses API
			name = f.text(join(at, member), v)
		case "function":
			f.object(join(at, member), v, func(inner string, v value) {
				if inner == "name" {
					name = f.text(join(at, "function.name"), v)
				}
			})
		}
	})
	if f.failed == nil && (kind != "function" || name == "") {
		f.fail(at, `must be "auto", "none", "required", or name a function`)
	}
	q.call.ToolChoice, q.call.MustCall = backend.ToolChoiceRequired, name
}

func (f *fields) toolChoiceWord(q *request, at, word string) {
	switch c := backend.ToolChoice(word); c {
	case backend.ToolChoiceAuto, backend.ToolChoiceNone, backend.ToolChoiceRequired:
		q.call.ToolChoice = c
	default:
		f.fail(at, `must be "auto", "none", "required", or name a function; got %q`, word)
	}
}

// responseFormat reads the format of an answer; nil for free text.
func (f *fields) responseFormat(at string, v value) *backend.Schema {
	kind := ""
	var schema *backend.Schema
	flat := &backend.Schema{Loose: true}
	f.object(at, v, func(name string, v value) {
		switch name {
		case "type":
			kind = f.text(join(at, name), v)
		case "json_schema":
			schema = &backend.Schema{Loose: true}
			f.object(join(at, name), v, func(member string, v value) { f.schemaField(schema, at+".json_schema", member, v) })
		default: // the Responses API has no json_schema object around them
			f.schemaField(flat, at, name, v)
		}
	})
	if schema == nil {
		schema = flat
	}
	switch {
	case f.failed != nil:
	case kind == "text":
		return nil
	case kind == "json_object":
		return &backend.Schema{Name: "json"}
	case kind != "json_schema":
		f.fail(join(at, "type"), `must be "text", "json_object" or "json_schema"; got %q`, kind)
	case schema.JSON == nil:
		f.fail(at, "the schema is missing")
	case schema.Name == "":
		schema.Name = "answer"
	}
	return schema
}

func (f *fields) schemaField(s *backend.Schema, at, name string, v value) {
	switch name {
	case "name":
		s.Name = f.text(join(at, name), v)
	case "description":
		s.Description = f.text(join(at, name), v)
	case "schema":
		s.JSON = f.schema(join(at, name), v)
	case "strict":
		s.Loose = !f.flag(join(at, name), v)
	}
}

package vllmsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// chatRequest is the body of a chat completion, with the fields that the simulator uses. Unknown fields are accepted, like in the
// real server.
type chatRequest struct {
	Model               string             `json:"model"`
	Messages            []message          `json:"messages"`
	Tools               json.RawMessage    `json:"tools"`
	ToolChoice          json.RawMessage    `json:"tool_choice"`
	Stream              bool               `json:"stream"`
	StreamOptions       *streamOptions     `json:"stream_options"`
	MaxTokens           *int               `json:"max_tokens"`
	MaxCompletionTokens *int               `json:"max_completion_tokens"`
	Temperature         *float64           `json:"temperature"`
	N                   *int               `json:"n"`
	Stop                json.RawMessage    `json:"stop"`
	CacheSalt           *string            `json:"cache_salt"`
	RequestID           string             `json:"request_id"`
	ResponseFormat      *responseFormat    `json:"response_format"`
	StructuredOutputs   *structuredOutputs `json:"structured_outputs"`
	Priority            int                `json:"priority"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type responseFormat struct {
	Type       string `json:"type"`
	JSONSchema *struct {
		Schema json.RawMessage `json:"schema"`
	} `json:"json_schema"`
}

type structuredOutputs struct {
	JSON   json.RawMessage `json:"json"`
	Regex  *string         `json:"regex"`
	Choice []string        `json:"choice"`
}

type message struct {
	Role      string     `json:"role"`
	Content   content    `json:"content"`
	ToolCalls []toolCall `json:"tool_calls"`
}

// instructs reports whether the message comes from the operator, not from the user.
func (m *message) instructs() bool { return m.Role == "system" || m.Role == "developer" }

type toolCall struct {
	Function struct {
		Name      string  `json:"name"`
		Arguments content `json:"arguments"`
	} `json:"function"`
}

// content is text that may come as a string, as a list of parts, as an object or as null.
type content string

// UnmarshalJSON joins the text of all parts. An image becomes a short text that differs between images. Other content stays as JSON.
func (c *content) UnmarshalJSON(data []byte) error {
	switch data[0] {
	case '"':
		return json.Unmarshal(data, (*string)(c))
	case '[':
		var parts []struct {
			Text  string `json:"text"`
			Image struct {
				URL string `json:"url"`
			} `json:"image_url"`
		}
		if err := json.Unmarshal(data, &parts); err != nil {
			return err
		}
		var b strings.Builder
		for _, p := range parts {
			b.WriteString(p.Text)
			if p.Image.URL != "" {
				fmt.Fprintf(&b, "<image %016x>", hashOf(p.Image.URL))
			}
		}
		*c = content(b.String())
	case 'n':
		*c = ""
	default:
		*c = content(data)
	}
	return nil
}

// decode reads a request body. Errors are those of the real server's body validation.
func decode(body []byte, into any) *apiError {
	err := json.Unmarshal(body, into)
	if err == nil {
		return nil
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		loc := fmt.Sprintf("body.%d", syntax.Offset)
		return badBody(loc, "1 validation error:\n  {'type': 'json_invalid', 'loc': '"+loc+
			"', 'msg': 'JSON decode error', 'input': '<dict of 0 items>', 'ctx': {'error': 'Expecting value'}}")
	}
	loc, want := "body", "dictionary"
	if typed, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		want = typed.Type.Kind().String()
		if typed.Field != "" {
			loc += "." + typed.Field
		}
	}
	return badBody(loc, fmt.Sprintf("1 validation error:\n  {'type': '%s_type', 'loc': '%s', 'msg': 'Input should be a valid %s'}", want, loc, want))
}

func present(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

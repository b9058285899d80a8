package openaichat

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"html"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/batchagent/batchagent/pkg/backend/endpoint"
)

// maxErrorBytes limits the bytes read of an error body.
const maxErrorBytes = 64 << 10

// errorBody is a server's error, parsed from any shape.
type errorBody struct {
	found   bool // the body is an error of a known shape
	message string
	kind    string // "type", or Google's "status"
	param   string
	code    string
	status  int      // code, if it is a number
	fields  []string // parts of the request that a validator named
	// quoted is the upstream error that a gateway quotes, followed by details beside the message.
	quoted string
	// over is set if the error is about the context, whatever its status.
	over endpoint.Overflow
}

// errorFields are the fields of an error object, with the names that servers use.
type errorFields struct {
	Message  json.RawMessage `json:"message"`
	Msg      json.RawMessage `json:"msg"`
	ErrorMsg json.RawMessage `json:"error_msg"`
	Type     json.RawMessage `json:"type"`
	Status   json.RawMessage `json:"status"`
	Param    json.RawMessage `json:"param"`
	Code     json.RawMessage `json:"code"`
	Details  json.RawMessage `json:"details"`
	Metadata json.RawMessage `json:"metadata"`
	// Window and Needs are sent by llama.cpp.
	Window int `json:"n_ctx"`
	Needs  int `json:"n_prompt_tokens"`
}

// parseErrorBody parses {"error":{…}}, {"error":"…"}, {"detail":…}, {"errors":[…]}, the flat {"object":"error",…}, and
// a list of any of them. Of any other body it keeps the text if it is plain, or the title of a web page.
func parseErrorBody(body []byte) errorBody {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, bom))
	var list []json.RawMessage
	if json.Unmarshal(body, &list) == nil && len(list) > 0 && list[0][0] == '{' {
		return parseErrorBody(list[0])
	}
	var top struct {
		errorFields
		Error  json.RawMessage   `json:"error"`
		Errors []json.RawMessage `json:"errors"`
		Detail json.RawMessage   `json:"detail"`
		Object json.RawMessage   `json:"object"`
	}
	if json.Unmarshal(body, &top) != nil && len(top.Error) == 0 && len(top.Message) == 0 {
		return plainBody(body)
	}
	f := top.errorFields
	switch {
	case len(top.Error) > 0 && top.Error[0] == '{':
		f = errorFields{}
		_ = json.Unmarshal(top.Error, &f) // a member of an unexpected type does not affect the others
	case isSet(top.Error):
		return newErrorBody(errorFields{Message: top.Error, Code: f.Code, Type: f.Type})
	case len(top.Errors) > 0:
		if top.Errors[0][0] == '"' {
			return newErrorBody(errorFields{Message: top.Errors[0]})
		}
		return parseErrorBody([]byte(`{"error":` + string(top.Errors[0]) + `}`))
	case isSet(top.Detail):
		f.Message = top.Detail
	case text(top.Object) != "error" && len(f.Message) == 0 && len(f.Msg) == 0 && len(f.ErrorMsg) == 0:
		return errorBody{message: buried(body)}
	}
	return newErrorBody(f)
}

func isSet(raw json.RawMessage) bool { return len(raw) > 0 && !bytes.Equal(raw, []byte("null")) }

func newErrorBody(f errorFields) errorBody {
	e := errorBody{found: true, kind: cmp.Or(text(f.Type), text(f.Status)), param: text(f.Param), code: text(f.Code)}
	for _, raw := range []json.RawMessage{f.Message, f.Msg, f.ErrorMsg} {
		if e.message == "" {
			e.message, e.fields = sentence(raw)
		}
	}
	e.status, _ = strconv.Atoi(e.code)
	e.quoted = quoted(f.Metadata)
	for _, raw := range []json.RawMessage{f.Details} {
		var d struct {
			Type          string `json:"type"`
			Limit, Actual int
		}
		if json.Unmarshal(raw, &d) == nil && d.Type == "context_length" {
			e.over = endpoint.Overflow{Needs: d.Actual, Window: d.Limit, Total: true}
		} else {
			e.quoted += " " + short(string(raw))
		}
	}
	if f.Window > 0 && f.Needs > 0 {
		e.over = endpoint.Overflow{Needs: f.Needs, Window: f.Window}
	}
	return e
}

// quoted returns the error of the server behind a gateway. It may be JSON within a string.
func quoted(metadata json.RawMessage) string {
	var m struct {
		Raw json.RawMessage `json:"raw"`
	}
	if json.Unmarshal(metadata, &m) != nil || !isSet(m.Raw) {
		return ""
	}
	raw := text(m.Raw)
	if inner := parseErrorBody([]byte(raw)); inner.found {
		raw = inner.message
	}
	return short(raw)
}

func short(s string) string {
	if len(s) > 2*endpoint.MaxMessageBytes {
		s = s[:2*endpoint.MaxMessageBytes]
	}
	return strings.ToValidUTF8(s, "")
}

// sentence returns a message's text and the fields that a validator names in it.
func sentence(raw json.RawMessage) (string, []string) {
	var nested struct {
		Detail  json.RawMessage `json:"detail"`
		Message json.RawMessage `json:"message"`
	}
	if json.Unmarshal(raw, &nested) == nil {
		switch {
		case isSet(nested.Detail):
			return detail(nested.Detail)
		case isSet(nested.Message):
			return text(nested.Message), nil
		}
	}
	return detail(raw)
}

// detail returns a validator's messages, without the repeated input, and the fields that they name.
func detail(raw json.RawMessage) (string, []string) {
	var list []struct {
		Msg string `json:"msg"`
		Loc []any  `json:"loc"`
	}
	if json.Unmarshal(raw, &list) != nil || len(list) == 0 {
		return text(raw), nil
	}
	out := make([]string, len(list))
	var fields []string
	for i, d := range list {
		out[i] = d.Msg
		if len(d.Loc) == 0 {
			continue
		}
		out[i] = fmt.Sprintf("%v: %s", d.Loc[len(d.Loc)-1], d.Msg)
		for _, part := range d.Loc {
			if name, ok := part.(string); ok {
				fields = append(fields, name)
			}
		}
	}
	return strings.Join(out, "; "), fields
}

// text returns a JSON string's text, a list's texts joined, and the JSON of any other value; "" for null.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		return strings.Join(list, ", ")
	}
	return string(raw)
}

// title matches the title of a web page.
var title = regexp.MustCompile(`(?is)<title[^>]{0,100}>(.{0,200}?)</title>`)

// plainBody parses a body that is not JSON. It keeps the title of a web page, or plain text that cannot repeat a request.
func plainBody(body []byte) errorBody {
	switch {
	case isPage(body):
		e := errorBody{message: "the answer is a web page"}
		if m := title.FindSubmatch(body); m != nil {
			if t := endpoint.OneLine(html.UnescapeString(string(bytes.ToValidUTF8(m[1], nil)))); t != "" {
				e.message += fmt.Sprintf(" titled %q", t)
			}
		}
		return e
	case !utf8.Valid(body) || bytes.ContainsAny(body, "<{"):
		return errorBody{}
	}
	return errorBody{message: string(body)}
}

// isPage reports whether a body is HTML or XML.
func isPage(body []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(bytes.TrimPrefix(body, bom)), []byte("<"))
}

// shorten converts a server's message to one line of limited length. It drops the part of a validation message that
// repeats the request's content.
func shorten(s string) string {
	for _, quote := range []string{"'input':", `"input":`} {
		if before, _, ok := strings.Cut(s, quote); ok {
			s = strings.TrimRight(before, " ,") + " …"
		}
	}
	return endpoint.OneLine(s)
}

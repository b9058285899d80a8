package openaichat

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
	"github.com/batchagent/batchagent/pkg/retryafter"
)

const maxErrorBytes = 64 << 10

// rules are a dialect's own, asked before the protocol's. nil has none.
type rules func(Refusal) backend.Class

// classify turns a refused call into an error without an endpoint.
func (f rules) classify(status int, header http.Header, body []byte) *backend.Error {
	e := parseErrorBody(body)
	out := &backend.Error{
		Class:      f.class(e, status),
		Status:     status,
		RetryAfter: retryafter.Read(header, time.Now()),
		Message:    cmp.Or(shorten(e.message), http.StatusText(status)),
		Err:        e.cause(status),
	}
	switch advice := header.Get("X-Should-Retry"); {
	case advice == "true" && out.Class == backend.InvalidRequest:
		out.Class = backend.Transient
	case advice == "false" && out.Class == backend.RateLimited:
		out.Class = backend.QuotaExhausted
	case advice == "false" && out.Class.Retryable():
		out.Class = backend.InvalidRequest
	}
	if out.Class == backend.RateLimited && out.RetryAfter == 0 {
		if room := headroom(header); room != nil && room.Left == 0 {
			out.RetryAfter = room.Reset
		}
	}
	switch {
	case out.Class != backend.InvalidRequest:
	case status < http.StatusBadRequest:
		out.Message = "the server redirects elsewhere; use the URL that it redirects to"
	case status == http.StatusNotFound:
		out.Message += ": no such route; is this an OpenAI-compatible server, and is the URL's path its base path?"
	}
	return out
}

// streamError turns an error that came within a stream into an error without an endpoint. The HTTP status was a
// success; what the error itself says decides.
func (f rules) streamError(event []byte) *backend.Error {
	e := parseErrorBody(event)
	out := f.asError(e)
	if !e.found {
		out.Message = "the stream broke off with an error that is not readable"
	}
	return out
}

// errorBody is what servers say of an error, whatever shape they say it in.
type errorBody struct {
	found   bool // the body is an error of a known shape
	message string
	kind    string // "type"
	param   string
	code    string
	status  int // code, if it is a number
	// Tokens that a request would need and that the window has, where the server tells.
	needs, window int
}

// Refusal is what a server said of an error. It is in the chain of the [backend.Error] when the server named a code or a
// parameter, or the sizes.
type Refusal struct {
	Status        int    // HTTP status, or what an error within a stream says in its place
	Code          string // "" if it is only a number
	Kind          string // "type"
	Param         string
	Message       string // may repeat the request: not for logs
	Needs, Window int    // tokens of prompt and answer together, and of the context; 0 if not told
}

// Error tells the parts that the message does not.
func (r Refusal) Error() string {
	var parts []string
	for _, p := range []struct{ name, value string }{{"code", r.Code}, {"parameter", r.Param}} {
		if p.value != "" {
			parts = append(parts, p.name+" "+endpoint.OneLine(p.value))
		}
	}
	if r.Window > 0 {
		parts = append(parts, fmt.Sprintf("%d tokens for a window of %d", r.Needs, r.Window))
	}
	return strings.Join(parts, ", ")
}

func (e errorBody) refusal(status int) Refusal {
	r := Refusal{Status: status, Kind: e.kind, Param: e.param, Message: e.message, Needs: e.needs, Window: e.window}
	if e.status == 0 {
		r.Code = e.code
	}
	return r
}

// cause is the refusal, if it tells something that class and message do not.
func (e errorBody) cause(status int) error {
	if r := e.refusal(status); r.Error() != "" {
		return r
	}
	return nil
}

// parseErrorBody understands {"error":{…}}, {"error":"…"}, {"detail":…} and the flat {"object":"error",…}; of another
// body it keeps the text, if it is plain.
func parseErrorBody(body []byte) errorBody {
	type fields struct {
		Message json.RawMessage `json:"message"`
		Type    json.RawMessage `json:"type"`
		Param   json.RawMessage `json:"param"`
		Code    json.RawMessage `json:"code"`
		Details json.RawMessage `json:"details"`
	}
	var top struct {
		fields
		Error  json.RawMessage `json:"error"`
		Detail json.RawMessage `json:"detail"`
		Object string          `json:"object"`
	}
	if json.Unmarshal(body, &top) != nil {
		return errorBody{message: plainText(body)}
	}
	f := top.fields
	switch {
	case len(top.Error) > 0 && top.Error[0] == '{':
		f = fields{}
		if json.Unmarshal(top.Error, &f) != nil {
			return errorBody{found: true}
		}
	case len(top.Error) > 0 && !bytes.Equal(top.Error, []byte("null")):
		return errorBody{found: true, message: text(top.Error)}
	case len(top.Detail) > 0:
		return errorBody{found: true, message: detail(top.Detail)}
	case top.Object != "error" && len(f.Message) == 0:
		return errorBody{}
	}
	e := errorBody{found: true, message: text(f.Message), kind: text(f.Type), param: text(f.Param), code: text(f.Code)}
	e.status, _ = strconv.Atoi(e.code)
	e.needs, e.window = sizes(e.message, f.Details, top.Details)
	return e
}

// requested matches the two wordings in which servers tell what a request would need.
var requested = regexp.MustCompile(`maximum context length (?:of|is) (\d+) tokens.*?requested (?:a total of )?(\d+) tokens`)

// sizes reads how many tokens a request needs and the window has; 0 if it is not told.
func sizes(message string, details ...json.RawMessage) (needs, window int) {
	for _, raw := range details {
		var d struct {
			Type          string `json:"type"`
			Limit, Actual int
		}
		if json.Unmarshal(raw, &d) == nil && d.Type == "context_length" {
			return d.Actual, d.Limit
		}
	}
	if m := requested.FindStringSubmatch(message); m != nil {
		window, _ = strconv.Atoi(m[1])
		needs, _ = strconv.Atoi(m[2])
	}
	return needs, window
}

// asError classifies an error that has no HTTP status of its own.
func (f rules) asError(e errorBody) *backend.Error {
	status := e.status
	if status < http.StatusBadRequest {
		status = http.StatusInternalServerError
	}
	return &backend.Error{
		Class: f.class(e, status), Status: http.StatusOK, Message: cmp.Or(shorten(e.message), e.kind, e.code), Err: e.cause(status),
	}
}

func (f rules) class(e errorBody, status int) backend.Class {
	if f != nil {
		if class := f(e.refusal(status)); class != "" {
			return class
		}
	}
	return e.class(status)
}

// class decides by the codes that name a case exactly, then by the status.
func (e errorBody) class(status int) backend.Class {
	words := strings.ToLower(e.message)
	switch {
	case e.is("context_length_exceeded"), e.param == "input_tokens", e.window > 0 && status < 500,
		status < 500 && strings.Contains(words, "maximum context length"),
		status < 500 && strings.Contains(words, "longer than the model's context length"):
		return backend.ContextTooLong
	case e.is("insufficient_quota"), e.is("credit_balance_exhausted"), e.is("billing_hard_limit_reached"):
		return backend.QuotaExhausted
	case e.is("model_not_found"):
		return backend.UnknownModel
	case e.is("rate_limit_exceeded"):
		return backend.RateLimited
	case e.is("slow_down"), e.is("server_is_overloaded"):
		return backend.Overloaded
	}
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return backend.Auth
	case http.StatusPaymentRequired:
		return backend.QuotaExhausted
	case http.StatusNotFound:
		if e.param == "model" || e.found && strings.Contains(words, "model") {
			return backend.UnknownModel
		}
		return backend.InvalidRequest
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly:
		return backend.Transient
	case http.StatusTooManyRequests:
		return backend.RateLimited
	case http.StatusServiceUnavailable, 529:
		return backend.Overloaded
	case http.StatusNotImplemented:
		return backend.InvalidRequest
	}
	if status >= http.StatusInternalServerError {
		return backend.Transient
	}
	return backend.InvalidRequest
}

func (e errorBody) is(code string) bool { return e.code == code || e.kind == code }

// text returns a JSON string's text, a list's texts joined, and any other value as it is written; "" for null.
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

// detail returns what a validator says, without the input that it repeats.
func detail(raw json.RawMessage) string {
	var list []struct {
		Msg string `json:"msg"`
		Loc []any  `json:"loc"`
	}
	if json.Unmarshal(raw, &list) != nil {
		return text(raw)
	}
	out := make([]string, len(list))
	for i, d := range list {
		out[i] = d.Msg
		if len(d.Loc) > 0 {
			out[i] = fmt.Sprintf("%v: %s", d.Loc[len(d.Loc)-1], d.Msg)
		}
	}
	return strings.Join(out, "; ")
}

// plainText returns a body that is not JSON, unless it is a page for people.
func plainText(body []byte) string {
	if !utf8.Valid(body) || bytes.ContainsAny(body, "<{") {
		return ""
	}
	return string(body)
}

// shorten makes a server's message one bounded line, and drops the part of a validation message that repeats the
// request's content.
func shorten(s string) string {
	for _, quote := range []string{"'input':", `"input":`} {
		if before, _, ok := strings.Cut(s, quote); ok {
			s = strings.TrimRight(before, " ,") + " …"
		}
	}
	return endpoint.OneLine(s)
}

package openaichat

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
	"github.com/batchagent/batchagent/pkg/retryafter"
)

const maxErrorBytes = 64 << 10

// classify turns a refused call into an error without an endpoint.
func classify(status int, header http.Header, body []byte) *backend.Error {
	e := parseErrorBody(body)
	out := &backend.Error{
		Class:      e.class(status),
		Status:     status,
		RetryAfter: retryafter.Read(header, time.Now()),
		Message:    cmp.Or(shorten(e.message), http.StatusText(status)),
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
func streamError(event []byte) *backend.Error {
	e := parseErrorBody(event)
	out := e.asError()
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
}

// parseErrorBody understands {"error":{…}}, {"error":"…"}, {"detail":…} and the flat {"object":"error",…}; of another
// body it keeps the text, if it is plain.
func parseErrorBody(body []byte) errorBody {
	type fields struct {
		Message json.RawMessage `json:"message"`
		Type    json.RawMessage `json:"type"`
		Param   json.RawMessage `json:"param"`
		Code    json.RawMessage `json:"code"`
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
	return e
}

// asError classifies an error that has no HTTP status of its own.
func (e errorBody) asError() *backend.Error {
	status := e.status
	if status < http.StatusBadRequest {
		status = http.StatusInternalServerError
	}
	return &backend.Error{Class: e.class(status), Status: http.StatusOK, Message: cmp.Or(shorten(e.message), e.kind, e.code)}
}

// class decides by the codes that name a case exactly, then by the status.
func (e errorBody) class(status int) backend.Class {
	words := strings.ToLower(e.message)
	switch {
	case e.is("context_length_exceeded"), e.param == "input_tokens",
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

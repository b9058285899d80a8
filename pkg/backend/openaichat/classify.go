package openaichat

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
	"github.com/batchagent/batchagent/pkg/retryafter"
)

// rules are a dialect's rules, applied before the protocol's. Nil has none.
type rules func(Refusal) backend.Class

// Refusal is an error reported by a server. It is in the chain of the [backend.Error].
type Refusal struct {
	Status        int    // HTTP status, or the status number of an error within a stream
	Code          string // "" if it is only a number
	Param         string
	Message       string // may repeat the request: do not log it
	Needs, Window int    // tokens of the request and of the context; 0 if missing
	// Total is set if Needs includes prompt and answer.
	Total bool
	// Fields are the parts of the request that a validator named.
	Fields []string
}

// Error returns the details that the message lacks; "" without details.
func (r Refusal) Error() string {
	var parts []string
	for _, p := range []struct{ name, value string }{{"code", r.Code}, {"parameter", r.Param}} {
		if p.value != "" {
			parts = append(parts, p.name+" "+endpoint.OneLine(p.value))
		}
	}
	if r.Window > 0 && r.Needs > 0 {
		parts = append(parts, fmt.Sprintf("%d tokens for a window of %d", r.Needs, r.Window))
	}
	return strings.Join(parts, ", ")
}

// classify converts a refused call into an error without an endpoint.
func (f rules) classify(status int, header http.Header, body []byte) *backend.Error {
	now := time.Now()
	e := parseErrorBody(body)
	out := f.asError(e, status, hints{
		asked: retryafter.Read(header, now), told: retryafter.Body(body, retryafter.Sent(header, now)), reset: retryafter.Reset(header, now),
	})
	out.Message = cmp.Or(out.Message, http.StatusText(status))
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
	case status < http.StatusBadRequest:
		out.Message = "the server redirects elsewhere; use the URL that it redirects to"
	case status == http.StatusNotFound && out.Class == backend.Transient:
		out.Message += ": no such route; is this an OpenAI-compatible server, and is the URL's path its base path?"
	case out.Class == backend.InvalidRequest && endpoint.Mentions(strings.ToLower(e.message), "not support tool", "support tool use", "tool use is not supported"):
		out.Message += "; use a model and a server that call tools, or a spec without tools"
	case status == http.StatusRequestEntityTooLarge && !e.found:
		out.Message += ": the server or a proxy before it takes no request of this size; shorten the input or raise its limit (client_max_body_size of nginx)"
	}
	return out
}

// streamError converts an error within a stream into an error without an endpoint. The HTTP status was a success, so
// only the error's content counts.
func (f rules) streamError(event []byte) *backend.Error {
	e := parseErrorBody(event)
	status := e.status
	if status < http.StatusBadRequest || status > 599 {
		status = http.StatusInternalServerError
	}
	out := f.asError(e, status, hints{told: retryafter.Body(event, time.Now())})
	out.Status = http.StatusOK
	switch {
	case !e.found && out.Message == "":
		out.Message = "the stream broke off with an error that is not readable"
	default:
		out.Message = cmp.Or(out.Message, e.kind, e.code)
	}
	return out
}

// hints are the waits that an answer requests; 0 for missing ones.
type hints struct {
	asked time.Duration // from a Retry-After header, for any error
	told  time.Duration // from the error's body
	reset time.Duration // from the headers of a rate limit
}

// longest returns the wait for a rate limit.
func (h hints) longest() time.Duration { return cmp.Or(h.asked, h.told, h.reset) }

// asError classifies an error by its body and its status.
func (f rules) asError(e errorBody, status int, h hints) *backend.Error {
	if o, ok := endpoint.ReadOverflow(e.words(), status < http.StatusInternalServerError); ok && e.over.Window == 0 {
		e.over = o
	}
	r := e.refusal(status)
	out := &backend.Error{Status: status, RetryAfter: h.asked, Message: shorten(e.told()), Err: r}
	if f != nil {
		out.Class = f(r)
	}
	if out.Class == "" {
		out.Class = e.class(status, h.longest())
	}
	if out.Class == backend.ContextTooLong {
		out.Window = e.over.Window
	}
	switch out.Class {
	case backend.RateLimited:
		out.RetryAfter = h.longest()
	case backend.Overloaded:
		out.RetryAfter = cmp.Or(h.asked, h.told)
	}
	return out
}

// told returns the message for users. After a gateway's general message it adds the message of the server behind it.
func (e errorBody) told() string {
	if e.quoted != "" && endpoint.Mentions(strings.ToLower(e.message), "provider returned error", "upstream error") {
		return e.message + ": " + strings.TrimSpace(e.quoted)
	}
	return e.message
}

// words returns all texts of the error in lower case.
func (e errorBody) words() string {
	return strings.ToLower(strings.Join([]string{e.message, e.quoted, e.kind, e.code}, ". "))
}

func (e errorBody) refusal(status int) Refusal {
	r := Refusal{Status: status, Param: e.param, Message: e.message, Fields: e.fields,
		Needs: e.over.Needs, Window: e.over.Window, Total: e.over.Total}
	if e.status == 0 {
		r.Code = e.code
	}
	return r
}

var (
	// empty are phrases about an account without credit. Waiting does not help.
	empty = []string{
		"insufficient credits", "insufficient balance", "insufficient funds", "insufficient_quota", "credit balance", "out of credits",
		"no credits", "not enough credits", "billing hard limit", "billing_hard_limit", "payment required", "requires more credits",
		"is suspended", "spending limit", "spend limit", "key limit exceeded", "budget has been exceeded", "budget_exceeded", "billing_not_active",
		"check your billing", "account is in good standing", "arrearage",
	}
	// daily are phrases about a limit that lasts until the next day.
	daily = []string{"per day (rpd)", "per day (tpd)", "requests per day", "tokens per day", "free-models-per-day", "perday"}
	// modelFault are codes for a model's faulty output: a second call may succeed.
	modelFault = []string{"tool_use_failed", "json_validate_failed", "output_parse_failed", "malformed_function_call"}
	// behind are phrases of a gateway about a failed upstream server.
	behind = []string{"provider returned error", "provider error", "upstream error", "upstream request failed", "upstream connect error", "bad gateway", "connection error"}
)

// class decides by exact codes first, then by phrases, then by the status.
func (e errorBody) class(status int, wait time.Duration) backend.Class {
	words := e.words()
	_, overflows := endpoint.ReadOverflow(words, status < http.StatusInternalServerError && status != http.StatusTooManyRequests)
	refused := status < http.StatusInternalServerError
	switch {
	case e.is("insufficient_quota"), e.is("credit_balance_exhausted"), e.is("billing_hard_limit_reached"):
		return backend.QuotaExhausted
	case slices.ContainsFunc(modelFault, e.is):
		return backend.Transient
	case overflows, e.is("context_length_exceeded"), e.param == "input_tokens", e.over.Window > 0 && refused:
		return backend.ContextTooLong
	case status == http.StatusRequestEntityTooLarge: // over the tokens of a minute or a proxy's limit: it can never succeed
		return backend.ContextTooLong
	case e.is("model_not_found"):
		return backend.UnknownModel
	case refused && endpoint.Mentions(words, empty...):
		return backend.QuotaExhausted
	case e.is("rate_limit_exceeded"), e.is("rate_limit_error") && refused:
		return e.limited(words, wait)
	case e.is("slow_down"), e.is("server_is_overloaded"), e.is("capacity_exceeded"):
		return backend.Overloaded
	}
	switch status {
	case http.StatusUnauthorized:
		return backend.Auth
	case http.StatusForbidden:
		if endpoint.Mentions(words, "rate limit", "too many requests") {
			return e.limited(words, wait)
		}
		return backend.Auth
	case http.StatusPaymentRequired:
		return backend.QuotaExhausted
	case http.StatusNotFound:
		switch {
		case e.param == "model", e.found && endpoint.Mentions(words, "model", "deployment"):
			return backend.UnknownModel
		case e.found && !strings.Contains(words, "not found"):
			return backend.InvalidRequest // a message about this request, not about the route
		}
		return backend.Transient // the route is missing temporarily; a wrong route is detected before the batch starts
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusFailedDependency, http.StatusMisdirectedRequest, 499:
		return backend.Transient
	case http.StatusTooManyRequests:
		return e.limited(words, wait)
	case http.StatusServiceUnavailable, 498, 529:
		return backend.Overloaded
	case http.StatusNotImplemented:
		return backend.InvalidRequest
	}
	if status >= http.StatusInternalServerError || status == http.StatusBadRequest && endpoint.Mentions(words, behind...) {
		return backend.Transient
	}
	return backend.InvalidRequest
}

// limited separates a rate limit from an exhausted quota. An answer with a wait is a rate limit. Gemini's daily quota
// is an exception: its answers also have a wait.
func (e errorBody) limited(words string, wait time.Duration) backend.Class {
	switch {
	case strings.Contains(words, "request too large"): // over the tokens of a minute: it can never succeed
		return backend.ContextTooLong
	case strings.Contains(words, "overloaded"):
		return backend.Overloaded
	case strings.Contains(words, "perday"):
		return backend.QuotaExhausted
	case wait > 0:
		return backend.RateLimited
	case endpoint.Mentions(words, daily...), endpoint.Mentions(words, "exceeded your current quota") && !strings.Contains(words, "minute"):
		return backend.QuotaExhausted
	}
	return backend.RateLimited
}

func (e errorBody) is(code string) bool { return e.code == code || e.kind == code }

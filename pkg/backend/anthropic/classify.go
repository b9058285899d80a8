package anthropic

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
	"github.com/batchagent/batchagent/pkg/retryafter"
)

// classify converts a refused call, or an error event in a stream with status 200, into an error without an endpoint.
func classify(status int, h http.Header, body []byte, now time.Time) *backend.Error {
	var b struct {
		Error struct {
			Type    string `json:"type"`
			Message string `json:"message"`
		} `json:"error"`
		Message string `json:"message"`
	}
	_ = json.Unmarshal(body, &b) // a proxy's page contains no more than the status
	message := cmp.Or(b.Error.Message, b.Message)
	out := &backend.Error{
		Class:      class(status, b.Error.Type, strings.ToLower(message)),
		Status:     status,
		RetryAfter: retryafter.Read(h, now),
		Message:    cmp.Or(endpoint.OneLine(message), endpoint.OneLine(b.Error.Type), http.StatusText(status)),
	}
	switch out.Class {
	case backend.ContextTooLong:
		o, _ := endpoint.ReadOverflow(message, true)
		out.Window = o.Window
	case backend.RateLimited:
		if room := headroom(h, now); out.RetryAfter == 0 && room != nil && room.Left == 0 {
			out.RetryAfter = room.Reset
		}
		out.RetryAfter = cmp.Or(out.RetryAfter, retryafter.Body(body, retryafter.Sent(h, now)))
	}
	return out
}

// class decides by exact phrases first, then by the error's type, then by the status.
func class(status int, kind, words string) backend.Class {
	if status < 500 {
		_, overflows := endpoint.ReadOverflow(words, true)
		switch {
		case overflows, endpoint.Mentions(words, "context limit"):
			return backend.ContextTooLong
		case endpoint.Mentions(words, "credit balance", "usage limits", "spend limit"):
			return backend.QuotaExhausted
		}
	}
	switch kind {
	case "authentication_error", "permission_error":
		return backend.Auth
	case "billing_error":
		return backend.QuotaExhausted
	case "rate_limit_error":
		return backend.RateLimited
	case "overloaded_error":
		return backend.Overloaded
	case "request_too_large":
		return backend.ContextTooLong
	case "api_error", "timeout_error":
		if status == http.StatusServiceUnavailable {
			return backend.Overloaded
		}
		return backend.Transient
	}
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return backend.Auth
	case http.StatusPaymentRequired:
		return backend.QuotaExhausted
	case http.StatusNotFound:
		if strings.Contains(words, "model") {
			return backend.UnknownModel
		}
		if words == "" {
			return backend.Transient // a proxy's page: the route is missing temporarily
		}
		return backend.InvalidRequest
	case http.StatusRequestEntityTooLarge:
		return backend.ContextTooLong
	case http.StatusRequestTimeout, http.StatusConflict:
		return backend.Transient
	case http.StatusTooManyRequests:
		return backend.RateLimited
	case http.StatusServiceUnavailable, 529:
		return backend.Overloaded
	}
	switch {
	case kind == "invalid_request_error":
		return backend.InvalidRequest
	case status >= http.StatusInternalServerError, status < http.StatusMultipleChoices:
		return backend.Transient // an error of unknown kind within a stream
	}
	return backend.InvalidRequest
}

// headroom returns the tightest rate limit in a response's headers; nil without any.
func headroom(h http.Header, now time.Time) *backend.Headroom {
	var out *backend.Headroom
	for _, what := range []string{"Requests", "Tokens", "Input-Tokens", "Output-Tokens"} {
		name := "Anthropic-Ratelimit-" + what
		limit, err1 := strconv.ParseFloat(h.Get(name+"-Limit"), 64)
		left, err2 := strconv.ParseFloat(h.Get(name+"-Remaining"), 64)
		if err1 != nil || err2 != nil || !(limit > 0) {
			continue
		}
		room := backend.Headroom{Left: min(max(left/limit, 0), 1)}
		if at, err := time.Parse(time.RFC3339, h.Get(name+"-Reset")); err == nil {
			room.Reset = max(at.Sub(retryafter.Sent(h, now)), 0)
		}
		if out == nil || room.Left < out.Left {
			out = &room
		}
	}
	return out
}

package modelapi

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/plainjson"
)

// failure is the reason why a request has no answer, in the terms of both APIs.
type failure struct {
	status     int    // OpenAI's; Anthropic's has its own for overload
	kind       string // OpenAI's type
	anthropic  string // Anthropic's type
	code       string // OpenAI's; "" is null
	param      string // OpenAI's name of the wrong field; "" is null
	message    string
	retryAfter time.Duration
	final      bool // the session has retried
	details    any  // Anthropic's, for clients; nil for none
}

// anthropicOverloaded is Anthropic's status for an overloaded service.
const anthropicOverloaded = 529

func invalid(param, format string, args ...any) *failure {
	return &failure{status: http.StatusBadRequest, kind: "invalid_request_error", anthropic: "invalid_request_error", param: param, message: fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) *failure {
	return &failure{status: http.StatusNotFound, kind: "invalid_request_error", anthropic: "not_found_error", message: fmt.Sprintf(format, args...)}
}

func tooLarge(limit int64) *failure {
	return &failure{status: http.StatusRequestEntityTooLarge, kind: "invalid_request_error", anthropic: "request_too_large",
		message: fmt.Sprintf("the request's body is longer than %d bytes", limit)}
}

// failureOf converts the error of a call.
func failureOf(err error) *failure {
	e, ok := errors.AsType[*backend.Error](err)
	if !ok {
		message := "the session has ended: " + err.Error()
		if errors.Is(err, context.Canceled) {
			message = "the session has ended"
		}
		return &failure{status: http.StatusServiceUnavailable, kind: "server_error", anthropic: "api_error", code: "session_ended", message: message, final: true}
	}
	f := &failure{message: messageOf(e), retryAfter: e.RetryAfter, final: true}
	set := func(status int, kind, anthropic, code string) {
		f.status, f.kind, f.anthropic, f.code = status, kind, anthropic, code
	}
	switch e.Class {
	case backend.RateLimited:
		set(http.StatusTooManyRequests, "rate_limit_error", "rate_limit_error", "rate_limit_exceeded")
	case backend.QuotaExhausted:
		set(http.StatusTooManyRequests, "insufficient_quota", "rate_limit_error", "insufficient_quota")
	case backend.Overloaded:
		set(http.StatusServiceUnavailable, "server_error", "overloaded_error", "overloaded")
	case backend.ContextTooLong:
		set(http.StatusBadRequest, "invalid_request_error", "invalid_request_error", "context_length_exceeded")
		f.param = "messages"
		if !strings.Contains(strings.ToLower(f.message), "maximum context length") { // clients look for this phrase
			f.message = "the prompt is longer than the model's maximum context length: " + f.message
		}
	case backend.InvalidRequest:
		set(http.StatusBadRequest, "invalid_request_error", "invalid_request_error", "")
	case backend.UnknownModel:
		set(http.StatusNotFound, "invalid_request_error", "not_found_error", "model_not_found")
	case backend.Auth:
		set(http.StatusUnauthorized, "invalid_request_error", "authentication_error", "invalid_api_key")
		f.message = "the model server refuses the key of the worker: " + f.message
	default:
		set(http.StatusInternalServerError, "server_error", "api_error", string(e.Class))
	}
	return f
}

// messageOf returns the message and advice of a backend, or the cause.
func messageOf(e *backend.Error) string {
	message := e.Message
	if message == "" && e.Err != nil {
		message = e.Err.Error()
	}
	if message == "" {
		message = string(e.Class)
	}
	if e.Advice != "" {
		message += "; " + e.Advice
	}
	return message
}

type openAIError struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

func (f *failure) openAI() openAIError {
	return openAIError{f.message, f.kind, orNull(f.param), orNull(f.code)}
}

type anthropicError struct {
	Type  string `json:"type"`
	Error struct {
		Type    string `json:"type"`
		Message string `json:"message"`
		Details any    `json:"details,omitempty"`
	} `json:"error"`
}

func (f *failure) forAnthropic() anthropicError {
	e := anthropicError{Type: "error"}
	e.Error.Type, e.Error.Message, e.Error.Details = f.anthropic, f.message, f.details
	if f.code == "context_length_exceeded" { // clients look for this phrase
		e.Error.Message = "prompt is too long: " + f.message
	}
	return e
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func writeOpenAI(w http.ResponseWriter, f *failure) {
	f.headers(w.Header())
	writeJSON(w, f.status, map[string]any{"error": f.openAI()})
}

func writeAnthropic(w http.ResponseWriter, f *failure) {
	f.headers(w.Header())
	status := f.status
	if f.anthropic == "overloaded_error" {
		status = anthropicOverloaded
	}
	writeJSON(w, status, f.forAnthropic())
}

// headers sets the headers that the clients of both providers read.
func (f *failure) headers(h http.Header) {
	if f.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(f.retryAfter.Seconds()))))
	}
	if f.final {
		h.Set("X-Should-Retry", "false")
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := plainjson.Marshal(v)
	if err != nil { // a value that has no JSON form is a mistake in this package
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)) // a test's recorder has no deadlines
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
}

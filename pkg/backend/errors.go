package backend

import (
	"errors"
	"fmt"
	"time"
)

// Class is the kind of a failed model call. It decides how the turn continues.
type Class string

// The classes.
const (
	RateLimited    Class = "rate_limited"     // slow down; RetryAfter may hold the wait
	Overloaded     Class = "overloaded"       // the server's queue is full, or it has no worker
	Transient      Class = "transient"        // connection, 5xx, cut or silent stream: the same call may succeed
	Degenerate     Class = "degenerate"       // the model produced endless output, such as whitespace; the stream was cut
	ContextTooLong Class = "context_too_long" // the prompt does not fit
	InvalidRequest Class = "invalid_request"  // the server refuses this request permanently
	UnknownModel   Class = "unknown_model"    // the endpoint does not serve the model
	Auth           Class = "auth"             // key missing, wrong or without permission
	QuotaExhausted Class = "quota_exhausted"  // no credit left; waiting does not help
)

// Classes lists every class.
var Classes = []Class{RateLimited, Overloaded, Transient, Degenerate, ContextTooLong, InvalidRequest, UnknownModel, Auth, QuotaExhausted}

// Retryable reports whether the same call may succeed later.
func (c Class) Retryable() bool {
	switch c {
	case RateLimited, Overloaded, Transient, Degenerate:
		return true
	default:
		return false
	}
}

// Error is a failed model call.
type Error struct {
	Class      Class
	Endpoint   string        // without credentials
	Status     int           // HTTP status; 0 if none arrived
	RetryAfter time.Duration // 0 if the server sent none
	Message    string        // the server's message, shortened, without the request's content
	Advice     string        // what the user can do
	Partial    string        // text that arrived before a Degenerate stream was cut; limited
	Window     int           // ContextTooLong: tokens of the model's context, from the server's message; 0 if missing
	Err        error         // the cause, if any
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %s", e.Endpoint, e.Class)
	if e.Status != 0 {
		s += fmt.Sprintf(" (HTTP %d)", e.Status)
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Advice != "" {
		s += "; " + e.Advice
	}
	if e.Err != nil {
		if cause := e.Err.Error(); cause != "" {
			s += ": " + cause
		}
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// ClassOf returns the class of err, or "" if no [Error] is in its chain.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return ""
}

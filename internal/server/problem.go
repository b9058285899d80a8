package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// Problem is an error answer: RFC 9457, application/problem+json.
type Problem struct {
	Type   string    `json:"type" jsonschema:"a stable name, urn:batchagent:problem:NAME"`
	Title  string    `json:"title"`
	Status int       `json:"status"`
	Detail string    `json:"detail" jsonschema:"what is wrong and how to fix it"`
	Errors []Mistake `json:"errors,omitempty" jsonschema:"each mistake of a spec or its inputs"`

	retryAfter int // seconds; 0 means no header
}

// Mistake is one mistake in a spec.
type Mistake struct {
	Line    int    `json:"line,omitempty" jsonschema:"line in the spec, from 1"`
	Field   string `json:"field,omitempty" jsonschema:"for example timeouts.turn"`
	Message string `json:"message"`
}

func (p *Problem) Error() string { return p.Detail }

// problem returns a Problem with one of batchagent's own types.
func problem(status int, name, format string, args ...any) *Problem {
	return &Problem{
		Type: "urn:batchagent:problem:" + name, Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...),
	}
}

// busy returns the problem of a reached limit, with a time to retry.
func busy(what string) *Problem {
	p := problem(http.StatusServiceUnavailable, "busy", "%s; try again soon", what)
	p.retryAfter = 2
	return p
}

// problemOf converts an error to a Problem. The detail is the message that a terminal shows.
func problemOf(ctx context.Context, err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	text := err.Error()
	tooLarge, isTooLarge := errors.AsType[*http.MaxBytesError](err)
	switch {
	case isTooLarge:
		return problem(http.StatusRequestEntityTooLarge, "too-large", "the submission is larger than the %d bytes that this server accepts", tooLarge.Limit)
	case errors.Is(err, statestore.ErrKeyUsed):
		return problem(http.StatusUnprocessableEntity, "key-used", "%s", text)
	case errors.Is(err, statestore.ErrNotFound):
		return problem(http.StatusNotFound, "not-found", "%s", text)
	case errors.Is(err, statestore.ErrConflict):
		return problem(http.StatusConflict, "conflict", "%s", text)
	case errors.Is(err, statestore.ErrFull):
		return problem(http.StatusServiceUnavailable, "full", "%s", text)
	case errors.Is(err, errStopping):
		return busy("the server is shutting down")
	case errors.Is(err, fault.ErrJobsFailed):
		return problem(http.StatusConflict, "conflict", "%s", text)
	}
	switch {
	case fault.IsUnreachable(err):
		p := problem(http.StatusServiceUnavailable, "unreachable", "%s", text)
		p.retryAfter = 5
		return p
	case fault.IsUsage(err):
		p := problem(http.StatusBadRequest, "invalid", "%s", text)
		p.Errors = mistakes(err)
		return p
	}
	if errors.Is(err, context.DeadlineExceeded) {
		p := problem(http.StatusServiceUnavailable, "unreachable", "Redis did not answer in time: %s", text)
		p.retryAfter = 5
		return p
	}
	return problem(http.StatusInternalServerError, "internal", "%s", text)
}

func mistakes(err error) []Mistake {
	var out []Mistake
	if all, ok := errors.AsType[spec.Errors](err); ok {
		for _, e := range all {
			out = append(out, Mistake{Line: e.Line, Field: e.Field, Message: e.Message})
		}
	}
	if bad, ok := errors.AsType[*spec.BadInputsError](err); ok {
		for _, in := range bad.First {
			out = append(out, Mistake{Field: "inputs", Message: in.Where + ": " + in.Bad})
		}
	}
	return out
}

func (p *Problem) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="batchagent"`)
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

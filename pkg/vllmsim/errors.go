package vllmsim

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/batchagent/batchagent/pkg/vllmsim/internal/sample"
)

// apiError is a response with a status of 400 or more, in the shape {"error":{message,type,param,code}}.
type apiError struct {
	status     int
	kind       string // the "type" field
	message    string
	param      string // "" is sent as null
	retryAfter int    // seconds; 0 sends no header
}

// badParam refuses one parameter, with the real server's message.
func badParam(param, format string, args ...any) *apiError {
	return &apiError{
		status: http.StatusBadRequest, kind: "BadRequestError", param: param,
		message: fmt.Sprintf(format, args...) + " (parameter=" + param + ")",
	}
}

// badValue refuses one parameter and repeats its value.
func badValue(param string, value any, format string, args ...any) *apiError {
	e := badParam(param, format, args...)
	e.message = fmt.Sprintf("%s (parameter=%s, value=%v)", fmt.Sprintf(format, args...), param, value)
	return e
}

// badRequest refuses a request without naming a parameter.
func badRequest(format string, args ...any) *apiError {
	return &apiError{status: http.StatusBadRequest, kind: "BadRequestError", message: fmt.Sprintf(format, args...)}
}

// badBody is the answer of body validation: it has another type, and details in a Python-like text.
func badBody(param, details string) *apiError {
	return &apiError{status: http.StatusBadRequest, kind: "Bad Request", param: param, message: details}
}

var errBusy = &apiError{
	status: http.StatusServiceUnavailable, kind: "Service Unavailable",
	message: "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance.",
}

func (e *apiError) write(w http.ResponseWriter) {
	if e.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(e.retryAfter))
	}
	writeJSON(w, e.status, e.body(nil))
}

func (e *apiError) body(dst []byte) []byte {
	dst = append(dst, `{"error":{"message":`...)
	dst = sample.AppendString(dst, e.message)
	dst = append(dst, `,"type":`...)
	dst = sample.AppendString(dst, e.kind)
	dst = append(dst, `,"param":`...)
	if e.param == "" {
		dst = append(dst, "null"...)
	} else {
		dst = sample.AppendString(dst, e.param)
	}
	dst = append(dst, `,"code":`...)
	dst = strconv.AppendInt(dst, int64(e.status), 10)
	return append(dst, "}}"...)
}

// writeDetail sends an error in the web framework's own shape.
func writeDetail(w http.ResponseWriter, status int, detail string) {
	writeJSON(w, status, append(sample.AppendString([]byte(`{"detail":`), detail), '}'))
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
}

package modelapi

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

const (
	// readTimeout limits the arrival of a request's body.
	readTimeout = time.Minute
	// firstRead is the largest buffer that a Content-Length alone can reserve.
	firstRead = 1 << 20
)

var chunks = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// read reads the body of a request: one JSON object. The texts of the result share the body's memory.
func (a *api) read(w http.ResponseWriter, r *http.Request) (gjson.Result, *failure) {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(readTimeout)) // a test's recorder has no deadlines
	defer func() { _ = rc.SetReadDeadline(time.Time{}) }()

	var body strings.Builder
	if r.ContentLength > 0 {
		body.Grow(int(min(r.ContentLength, firstRead, a.limits.MaxBody)))
	}
	chunk := chunks.Get().(*[32 << 10]byte) //nolint:forcetypeassert // the pool holds this type only
	defer chunks.Put(chunk)
	_, err := io.CopyBuffer(struct{ io.Writer }{&body}, http.MaxBytesReader(w, r.Body, a.limits.MaxBody), chunk[:])
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return gjson.Result{}, tooLarge(a.limits.MaxBody)
	}
	if err != nil {
		return gjson.Result{}, invalid("", "read the request's body: %s", err)
	}
	return parse(body.String())
}

// parse checks that a text is one JSON object of limited depth.
func parse(body string) (gjson.Result, *failure) {
	switch {
	case !utf8.ValidString(body):
		return gjson.Result{}, invalid("", "the body is not valid UTF-8")
	case depth(body) > maxDepth: // checked first, because the parser is recursive
		return gjson.Result{}, invalid("", "the body has more than %d nested objects and arrays", maxDepth)
	case !gjson.Valid(body):
		return gjson.Result{}, invalid("", "the body is not valid JSON")
	}
	v := gjson.Parse(body)
	if !v.IsObject() {
		return gjson.Result{}, invalid("", "the body must be a JSON object")
	}
	return v, nil
}

// depth returns how deep the objects and arrays of a JSON text are nested.
func depth(text string) (deepest int) {
	now, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			quoted = !quoted
		case '\\':
			if quoted {
				i++
			}
		case '{', '[':
			if !quoted {
				now++
				deepest = max(deepest, now)
			}
		case '}', ']':
			if !quoted {
				now--
			}
		}
	}
	return deepest
}

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
func (a *api) read(w http.ResponseWriter, r *http.Request) (value, *failure) {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(readTimeout)) // a test's recorder has no deadlines
	defer func() { _ = rc.SetReadDeadline(time.Time{}) }()

	var body strings.Builder
	if r.ContentLength > 0 {
		body.Grow(int(min(r.ContentLength, firstRead, a.maxBody)))
	}
	chunk := chunks.Get().(*[32 << 10]byte) //nolint:forcetypeassert // the pool holds this type only
	defer chunks.Put(chunk)
	_, err := io.CopyBuffer(struct{ io.Writer }{&body}, http.MaxBytesReader(w, r.Body, a.maxBody), chunk[:])
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return value{}, tooLarge(a.maxBody)
	}
	if err != nil {
		return value{}, invalid("", "read the request's body: %s", err)
	}
	return parse(body.String())
}

// parse checks that a text is one JSON object of limited depth.
func parse(body string) (value, *failure) {
	switch {
	case !utf8.ValidString(body):
		return value{}, invalid("", "the body is not valid UTF-8")
	case depth(body) > maxDepth: // checked first, because the parser is recursive
		return value{}, invalid("", "the body has more than %d nested objects and arrays", maxDepth)
	case !gjson.Valid(body):
		return value{}, invalid("", "the body is not valid JSON")
	}
	v := value{strings.Trim(body, " \t\r\n")}
	if !v.isObject() {
		return value{}, invalid("", "the body must be a JSON object")
	}
	return v, nil
}

// depth returns how deep the objects and arrays of a text are nested. The text may be invalid JSON.
func depth(text string) (deepest int) {
	now := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			if i = closing(text, i); i < 0 {
				return deepest
			}
		case '{', '[':
			now++
			deepest = max(deepest, now)
		case '}', ']':
			now--
		}
	}
	return deepest
}

// closing returns the position of the quote that ends the string at a position; -1 without one.
func closing(text string, start int) int {
	for i := start + 1; ; i++ {
		n := strings.IndexByte(text[i:], '"')
		if n < 0 {
			return -1
		}
		i += n
		slashes := 0
		for text[i-1-slashes] == '\\' { // ends at the opening quote at the latest
			slashes++
		}
		if slashes%2 == 0 {
			return i
		}
	}
}

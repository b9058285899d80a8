package worker

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/batchagent/batchagent/pkg/backend"
)

// maxReason limits a server's message in the reason of a pause, in bytes.
const maxReason = 200

// describe returns the kind of a failure and its reason for people.
func describe(err error) (kind, reason string) {
	e, ok := errors.AsType[*backend.Error](err)
	switch {
	case !ok:
		return unreachable, "server cannot be reached: " + shorten(err.Error())
	case e.Status == 0 && e.Err != nil:
		return string(e.Class), "server cannot be reached: " + shorten(e.Err.Error())
	case e.Status == 0:
		return string(e.Class), "server fails: " + shorten(e.Message)
	case e.Message == "":
		return string(e.Class), fmt.Sprintf("server answers %d", e.Status)
	case strings.HasPrefix(e.Message, "the answer is "), strings.HasPrefix(e.Message, "the server redirects"): // not the server's words
		return string(e.Class), fmt.Sprintf("server answers %d: %s", e.Status, shorten(e.Message))
	}
	return string(e.Class), fmt.Sprintf("server answers %d %q", e.Status, shorten(e.Message))
}

// refuses reports whether an error is about the key, the account or the model, so that every request would fail. Some
// providers return 403 for the content of a single request.
func refuses(e *backend.Error) bool {
	switch e.Class {
	case backend.QuotaExhausted, backend.UnknownModel:
		return true
	case backend.Auth:
		return e.Status != http.StatusForbidden
	}
	return false
}

// foreign reports whether an answer cannot come from a model server, such as a web page with status 200.
func foreign(e *backend.Error) bool {
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return e.Class == backend.Transient && e.Status >= 200 && e.Status < 498
}

func shorten(s string) string {
	if len(s) <= maxReason {
		return s
	}
	end := maxReason
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

package openaichat

import (
	"errors"
	"net/http"
	"strings"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
)

// refusing are the words with which servers refuse a member that they do not have. A server that misses a member uses
// none of them.
var refusing = []string{
	"unsupported", "not supported", "not support", "unknown", "unrecognized", "unrecognised", "unexpected", "not permitted", "not allowed",
	"forbidden", "additional propert", "extra inputs", "extra fields", "extra_forbidden", "cannot find field", "no such field", "invalid field",
	"is not a valid", "not valid under",
}

// untaken returns a function that reports whether the model is known to refuse a member of a message.
func (c *Client) untaken(model string) func(member string) bool {
	return func(member string) bool { return c.members.Has(model, member) }
}

// sentBeyond lists the members that the protocol does not have and a call is about to send.
func (c *Client) sentBeyond(model string, r *backend.Request) []string {
	var out []string
	for _, member := range beyond(r.Messages) {
		if !c.members.Has(model, member) {
			out = append(out, member)
		}
	}
	return out
}

// unwanted names the member among those sent for which a call was refused; "" if it was refused for another reason.
func unwanted(sent []string, err error) string {
	e, ok := errors.AsType[*backend.Error](err)
	if !ok || len(sent) == 0 || e.Class != backend.InvalidRequest || e.Status != http.StatusBadRequest && e.Status != http.StatusUnprocessableEntity {
		return ""
	}
	words := strings.ToLower(e.Message)
	refusal, _ := errors.AsType[Refusal](err)
	if !endpoint.Mentions(words, refusing...) && !strings.HasPrefix(refusal.Code, "unknown_") && !strings.HasPrefix(refusal.Code, "unsupported_") {
		return ""
	}
	for _, member := range sent {
		name := strings.ToLower(member)
		if member == thinkingParts {
			name = "thinking"
		}
		if namesMember(words, name) || namesMember(strings.ToLower(refusal.Param), name) {
			return member
		}
	}
	return ""
}

// namesMember reports whether text contains name as a whole word.
func namesMember(text, name string) bool {
	for at := 0; ; {
		i := strings.Index(text[at:], name)
		if i < 0 {
			return false
		}
		start, end := at+i, at+i+len(name)
		if (start == 0 || !isWord(text[start-1])) && (end == len(text) || !isWord(text[end])) {
			return true
		}
		at = end
	}
}

func isWord(b byte) bool {
	return b == '_' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9'
}

package spec

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/batchagent/batchagent/pkg/strictyaml"
)

// maxExtraBody limits the JSON of sampling.extra_body, in bytes: it is sent with every request.
const maxExtraBody = 16 << 10

// ownFields are the fields of a request's body that batchagent sets, under all of their names. If a field occurred
// twice, some servers would use the first one and others the last.
var ownFields = []string{
	"model", "messages", "system", "stream", "stream_options", "n",
	"tools", "tool_choice", "toolConfig", "response_format", "output_config",
	"temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "stop", "stop_sequences",
	"priority", "request_id", "rid", "session_id", "nvext", "prompt_cache_key",
}

// isOwnField reports whether a name is one of ownFields, ignoring case. Some servers ignore case.
func isOwnField(name string) bool {
	return slices.ContainsFunc(ownFields, func(own string) bool { return strings.EqualFold(own, name) })
}

// extraBody reads fields that are sent unchanged with every request.
func (l *loader) extraBody(field string, n ast.Node) map[string]json.RawMessage {
	entries, ok := l.Members(field, n)
	if !ok {
		return nil
	}
	out, size := map[string]json.RawMessage{}, 0
	for _, e := range entries {
		at := strictyaml.Join(field, e.Key)
		if isOwnField(e.Key) {
			l.Failf(e.Node, at, "is set by batchagent: take it out of extra_body")
			continue
		}
		value, ok := l.JSON(at, e.Value)
		if !ok {
			continue
		}
		out[e.Key] = value
		size += len(e.Key) + len(value)
	}
	if size > maxExtraBody {
		l.Failf(n, field, "must be at most %d bytes of JSON", maxExtraBody)
	}
	return out
}

// CheckExtraBody validates an ExtraBody that was received over the API. It refuses a value that no spec can have.
func (s Sampling) CheckExtraBody() error {
	size := 0
	for _, name := range slices.Sorted(maps.Keys(s.ExtraBody)) {
		if isOwnField(name) {
			return fmt.Errorf("sampling.extra_body.%s is set by batchagent: take it out of extra_body", name)
		}
		size += len(name) + len(s.ExtraBody[name])
	}
	if size > maxExtraBody {
		return fmt.Errorf("sampling.extra_body must be at most %d bytes of JSON", maxExtraBody)
	}
	return nil
}

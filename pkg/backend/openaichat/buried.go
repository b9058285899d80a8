package openaichat

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// maxDepth limits the depth of the search for a message.
const maxDepth = 4

// messageNames are the names of an error's message in bodies of unknown shape, in lower case, most likely first.
var messageNames = []string{"message", "status_msg", "error_msg", "error_message", "errormessage", "err_msg", "msg", "error", "detail", "reason", "description", "title"}

// buried returns the message of an error in JSON of unknown shape; "" if it has none.
func buried(body []byte) string {
	var v any
	if json.Unmarshal(body, &v) != nil {
		return ""
	}
	return messageIn(v, maxDepth)
}

func messageIn(v any, depth int) string {
	if depth == 0 {
		return ""
	}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range messageNames {
			for key, member := range v {
				if s, ok := member.(string); ok && strings.TrimSpace(s) != "" && strings.ToLower(key) == name {
					return s
				}
			}
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if m := messageIn(v[key], depth-1); m != "" {
				return m
			}
		}
	case []any:
		for _, member := range v[:min(len(v), 4)] {
			if m := messageIn(member, depth-1); m != "" {
				return m
			}
		}
	}
	return ""
}

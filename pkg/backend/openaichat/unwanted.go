package openaichat

import "github.com/batchagent/batchagent/pkg/backend"

// refusedMember returns the member outside of the protocol for which a call was refused; "" for any other reason.
func refusedMember(r *backend.Request, without parts, m mention) string {
	for _, member := range beyond(r.Messages) {
		name := member
		if member == thinkingParts {
			name = "thinking"
		}
		if !without[member] && m.names(name) {
			return member
		}
	}
	return ""
}

package agent

import (
	"errors"
	"strings"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/spec"
)

// maxReasoning limits the reasoning that one turn adds to the journal and the transcript, in bytes.
const maxReasoning = 256 << 10

// kept returns an assistant message of the journal in the form that is sent to the model again. It depends only on the
// message and the spec.
//
// A job is one tool loop. Its turns with tool calls keep their reasoning, so that the conversation only grows and the
// server's prefix cache stays valid. An answer ends the loop. If the answer has to be repaired, its reasoning is not
// sent, unless all reasoning is kept.
func kept(m backend.Message, keep spec.KeepReasoning) backend.Message {
	if keep == spec.KeepAlways || keep != spec.KeepNever && len(m.ToolCalls) > 0 {
		return m
	}
	m.Reasoning = nil
	m.Content = afterInlineReasoning(m.Content)
	if len(m.ToolCalls) == 0 && strings.TrimSpace(m.Content) == "" {
		m.Content = noAnswer
	}
	return m
}

// afterInlineReasoning returns a text without the reasoning that starts it. Reasoning without an end is kept.
func afterInlineReasoning(text string) string {
	rest, err := withoutThinking(text)
	switch {
	case err == nil:
		return rest
	case errors.Is(err, errAfterThinking):
		return ""
	default:
		return text
	}
}

// textBytes returns the size of the text and the reasoning of a message. Tokens are estimated from it.
func textBytes(m backend.Message) int { return len(m.Content) + len(m.ReasoningText()) }

// dropAnswersReasoning removes the reasoning of the answers among messages and returns how many bytes that saved. No
// server needs it.
func dropAnswersReasoning(messages []backend.Message) (saved int) {
	return dropReasoning(messages, func(_ int, m backend.Message) bool { return len(m.ToolCalls) == 0 })
}

// dropOlderReasoning removes the reasoning of all assistant messages except the last and returns how many bytes that
// saved. Signed reasoning stays: a server may refuse a tool loop without it.
func dropOlderReasoning(messages []backend.Message) (saved int) {
	last := 0
	for i, m := range messages {
		if m.Role == backend.RoleAssistant {
			last = i
		}
	}
	return dropReasoning(messages, func(i int, m backend.Message) bool {
		return i != last && len(m.Reasoning.Blocks) == 0 && len(m.Reasoning.Extra) == 0
	})
}

// dropReasoning removes the reasoning of the messages that drop selects.
func dropReasoning(messages []backend.Message, drop func(i int, m backend.Message) bool) (saved int) {
	for i, m := range messages {
		if m.Reasoning != nil && drop(i, m) {
			saved += len(m.ReasoningText())
			messages[i].Reasoning = nil
		}
	}
	return saved
}

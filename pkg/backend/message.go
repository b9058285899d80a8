package backend

import "encoding/json"

// Role is who speaks in a conversation.
type Role string

// The roles.
const (
	RoleSystem    Role = "system"
	RoleUser      Role = "user"
	RoleAssistant Role = "assistant"
	RoleTool      Role = "tool"
)

// Message is one message of a conversation. Its JSON form is what a job's journal holds, so it must stay readable by
// later versions, and must come back byte for byte: the server's prefix cache sees the same conversation again.
type Message struct {
	Role       Role       `json:"role"`
	Content    string     `json:"content"`
	Reasoning  *Reasoning `json:"reasoning,omitempty"`    // role assistant; nil if there is none, or it is not sent back
	ToolCalls  []ToolCall `json:"tool_calls,omitempty"`   // role assistant
	ToolCallID string     `json:"tool_call_id,omitempty"` // role tool: the call it answers
}

// ToolCall is one call that the model asked for.
type ToolCall struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Arguments string `json:"arguments"` // JSON as the model wrote it; may be malformed
	// Extra is a JSON object of the members that the server's chat protocol has beyond these, such as extra_content with
	// Gemini's thought signature. Those of the call's function are in its member "function". Nil if there are none.
	Extra json.RawMessage `json:"extra,omitempty"`
}

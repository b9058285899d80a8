package backend

import "encoding/json"

// Role is the author of a message.
type Role string

// The roles.
const (
	RoleSystem    Role = "system"
	RoleUser      Role = "user"
	RoleAssistant Role = "assistant"
	RoleTool      Role = "tool"
)

// Message is one message of a conversation. A job's journal stores its JSON form, so later versions must be able to
// read it. It must be reproduced byte for byte, so that the server's prefix cache matches the conversation again.
type Message struct {
	Role    Role   `json:"role"`
	Content string `json:"content"`
	// Lead is how many bytes at the beginning of Content other conversations may share. Adapters of servers with cache marks set
	// one there.
	Lead       int        `json:"lead,omitempty"`
	Reasoning  *Reasoning `json:"reasoning,omitempty"`    // role assistant; nil if missing or not to be sent back
	ToolCalls  []ToolCall `json:"tool_calls,omitempty"`   // role assistant
	ToolCallID string     `json:"tool_call_id,omitempty"` // role tool: the call that it answers
}

// ToolCall is one call that the model requested.
type ToolCall struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Arguments string `json:"arguments"` // JSON as the model wrote it; may be malformed
	// Extra is a JSON object with the further members of the call in the server's chat protocol, such as extra_content
	// with Gemini's thought signature. Its member "function" holds the further members of the call's function. Nil if there are none.
	Extra json.RawMessage `json:"extra,omitempty"`
}

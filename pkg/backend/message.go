package backend

import (
	"encoding/json"
	"strings"
)

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
	// Parts is the content of a message that is more than one text. Then Content is empty. Only a program's messages have parts.
	Parts []Part `json:"parts,omitempty"`
	// Lead is how many bytes at the beginning of Content other conversations may share. Adapters of servers with cache marks set
	// one there.
	Lead       int        `json:"lead,omitempty"`
	Reasoning  *Reasoning `json:"reasoning,omitempty"`    // role assistant; nil if missing or not to be sent back
	ToolCalls  []ToolCall `json:"tool_calls,omitempty"`   // role assistant
	ToolCallID string     `json:"tool_call_id,omitempty"` // role tool: the call that it answers
}

// Part is one part of a message's content. Exactly one of Text, Image and Other is set.
type Part struct {
	Text   string `json:"text,omitempty"`
	Image  string `json:"image,omitempty"`  // a URL; an image itself is a data URL in base64
	Detail string `json:"detail,omitempty"` // of an image: OpenAI's level of detail; "" leaves the server's default
	// Other is a part of another kind, such as audio, in the form of OpenAI's chat completions. Adapters of other protocols refuse it.
	Other json.RawMessage `json:"other,omitempty"`
}

// Text returns the text of the message: its content, or the texts of its parts.
func (m Message) Text() string {
	if len(m.Parts) == 0 {
		return m.Content
	}
	var b strings.Builder
	for _, p := range m.Parts {
		b.WriteString(p.Text)
	}
	return b.String()
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

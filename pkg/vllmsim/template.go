package vllmsim

// render adds a conversation to the chain in the format of the chat template. A conversation that extends another one, with equal
// tools, starts with the same tokens. An assistant message has exactly the tokens that the model generated.
func render(c *chain, messages []message, tools []byte, generate bool) {
	if len(tools) > 0 && (len(messages) == 0 || !messages[0].instructs()) {
		startMessage(c, "system")
		renderTools(c, tools)
		endMessage(c)
		tools = nil
	}
	for i := range messages {
		m := &messages[i]
		startMessage(c, m.Role)
		c.text(string(m.Content))
		if i == 0 && len(tools) > 0 {
			renderTools(c, tools)
		}
		for _, call := range m.ToolCalls {
			renderCall(c, call.Function.Name, string(call.Function.Arguments))
		}
		endMessage(c)
	}
	if generate {
		startMessage(c, "assistant")
	}
}

func startMessage(c *chain, role string) {
	c.special(tokenStart, "<|im_start|>")
	c.text(role)
	c.text("\n")
}

func endMessage(c *chain) {
	c.special(tokenEnd, "<|im_end|>")
	c.text("\n")
}

func renderTools(c *chain, tools []byte) {
	c.text("\n\n# Tools\n")
	c.text(string(tools))
}

// Parts of a tool call that the tool parser removes.
const (
	callOpen  = "\n<tool_call>\n{\"name\": \""
	callMid   = "\", \"arguments\": "
	callClose = "}\n</tool_call>"
)

func renderCall(c *chain, name, arguments string) {
	c.text(callOpen)
	c.text(name)
	c.text(callMid)
	c.text(arguments)
	c.text(callClose)
}

package modelapi

import (
	"encoding/json"

	"github.com/batchagent/batchagent/pkg/backend"
)

// messagesStream writes the events of Anthropic's Messages. One content block is open at a time.
type messagesStream struct {
	out   *eventWriter
	id    string
	model string

	begun bool
	open  string // the type of the open block; "" without one
	index int    // of the open block, or the next one
}

func newMessagesStream(out *eventWriter, q *request) *messagesStream {
	return &messagesStream{out: out, id: newID("msg_"), model: q.shown}
}

func (s *messagesStream) send(kind string, members func(o *object)) {
	var o object
	o.text("type", kind)
	members(&o)
	s.out.raw(kind, o.json())
}

func (s *messagesStream) begin() {
	if s.begun {
		return
	}
	s.begun = true
	s.send("message_start", func(o *object) {
		o.value("message", messagesBody{ID: s.id, Type: "message", Role: "assistant", Model: s.model, Content: []json.RawMessage{}})
	})
}

// start opens a block, unless a block of the type is open. Another open block ends first.
func (s *messagesStream) start(kind string, block json.RawMessage) {
	s.begin()
	if s.open == kind && kind != "tool_use" {
		return
	}
	s.stop()
	s.open = kind
	s.send("content_block_start", func(o *object) {
		o.value("index", s.index)
		o.value("content_block", block)
	})
}

func (s *messagesStream) delta(kind, member, value string) {
	s.send("content_block_delta", func(o *object) {
		o.value("index", s.index)
		var d object
		d.text("type", kind)
		d.text(member, value)
		o.value("delta", d.json())
	})
}

// stop ends the open block. Reasoning without a signature of its own gets one that marks it as a chat server's.
func (s *messagesStream) stop() {
	switch s.open {
	case "":
		return
	case "thinking":
		s.delta("signature_delta", "signature", signatureOf(backend.ProtocolChat, "", nil, nil))
	}
	s.closed()
}

func (s *messagesStream) closed() {
	s.send("content_block_stop", func(o *object) { o.value("index", s.index) })
	s.open = ""
	s.index++
}

func (s *messagesStream) text(_ int, piece string) {
	s.start("text", textBlock(""))
	s.delta("text_delta", "text", piece)
}

func (s *messagesStream) reasoning(_ int, piece string) {
	s.start("thinking", thinkingBlock("", ""))
	s.delta("thinking_delta", "thinking", piece)
}

func (s *messagesStream) thought(_ int, p backend.Protocol, b backend.ReasoningBlock) {
	if b.Redacted != "" {
		s.start("redacted_thinking", redactedBlock(redactedOf(p, b.Redacted)))
		s.closed()
		return
	}
	s.start("thinking", thinkingBlock("", ""))
	if p != "" {
		s.delta("signature_delta", "signature", signatureOf(p, b.Signature, nil, nil))
	}
	s.closed()
}

func (s *messagesStream) tool(_ int, c backend.ToolCall, finish backend.FinishReason) {
	input, ok := inputOf(c, finish)
	if !ok {
		return
	}
	s.start("tool_use", toolBlock(c, "{}"))
	s.delta("input_json_delta", "partial_json", input)
	s.closed()
}

func (s *messagesStream) end(_ int, r *backend.Response) {
	s.begin()
	if r.Finish == backend.FinishRefused && r.Refusal != "" {
		s.text(0, r.Refusal)
	}
	s.stop()
	stop := messagesStop(r)
	s.send("message_delta", func(o *object) {
		o.value("delta", map[string]*string{"stop_reason": &stop, "stop_sequence": nil})
		o.value("usage", newMessagesUsage(r.Usage))
	})
}

func (s *messagesStream) finish([]*backend.Response) {
	s.send("message_stop", func(*object) {})
}

func (s *messagesStream) fail(f *failure) {
	s.out.event("error", f.forAnthropic())
}

package modelapi

import (
	"encoding/json"
	"strings"

	"github.com/batchagent/batchagent/pkg/backend"
)

// responsesStream writes the events of OpenAI's Responses API. One output item is open at a time.
type responsesStream struct {
	out    *eventWriter
	body   *responsesBody
	sealed bool

	begun  bool
	number int    // of the next event
	open   string // the kind of the open item: message, reasoning or ""
	id     string // of the open item
	whole  strings.Builder
	output []json.RawMessage
	// protocol and blocks are those of the open item of reasoning, if the model server divides its reasoning.
	protocol backend.Protocol
	blocks   []backend.ReasoningBlock
}

func newResponsesStream(out *eventWriter, q *request) *responsesStream {
	return &responsesStream{out: out, body: newResponsesBody(q), sealed: q.sealed}
}

// send writes an event. Its members follow the type and the number.
func (s *responsesStream) send(kind string, members func(o *object)) {
	var o object
	o.text("type", kind)
	o.value("sequence_number", s.number)
	s.number++
	members(&o)
	s.out.raw(kind, o.json())
}

func (s *responsesStream) begin() {
	if s.begun {
		return
	}
	s.begun = true
	s.send("response.created", s.response)
	s.send("response.in_progress", s.response)
}

func (s *responsesStream) response(o *object) { o.value("response", s.body) }

// place adds the members that locate a part of the open item.
func (s *responsesStream) place(o *object) {
	o.text("item_id", s.id)
	o.value("output_index", len(s.output))
	o.value("content_index", 0)
}

// start opens an item, unless one of the kind is open. Another open item ends first.
func (s *responsesStream) start(kind, prefix string, item func(id string) json.RawMessage, part json.RawMessage) {
	s.begin()
	if s.open == kind {
		return
	}
	s.stop("completed")
	s.open, s.id = kind, newID(prefix)
	s.added(item(s.id))
	s.send("response.content_part.added", func(o *object) {
		s.place(o)
		o.value("part", part)
	})
}

func (s *responsesStream) added(item json.RawMessage) {
	s.send("response.output_item.added", func(o *object) {
		o.value("output_index", len(s.output))
		o.value("item", item)
	})
}

func (s *responsesStream) done(item json.RawMessage) {
	s.send("response.output_item.done", func(o *object) {
		o.value("output_index", len(s.output))
		o.value("item", item)
	})
	s.output = append(s.output, item)
}

// stop ends the open item.
func (s *responsesStream) stop(status string) {
	text := s.whole.String()
	s.whole.Reset()
	kind, part, item := s.open, json.RawMessage(nil), json.RawMessage(nil)
	name, member := "", "text"
	switch kind {
	case "":
		return
	case "message":
		name, part = "response.output_text.done", textPart(text)
		item = messageItem(s.id, status, part)
	case "refusal":
		name, member, part = "response.refusal.done", "refusal", refusalPart(text)
		item = messageItem(s.id, status, part)
	case "reasoning":
		name, part = "response.reasoning_text.done", reasoningPart(text)
		item = reasoningItem(s.id, text, s.seal(text), status)
	}
	s.send(name, func(o *object) {
		s.place(o)
		o.text(member, text)
		if kind == "message" {
			o.raw("logprobs", "[]")
		}
	})
	s.send("response.content_part.done", func(o *object) {
		s.place(o)
		o.value("part", part)
	})
	s.open = ""
	s.done(item)
}

func (s *responsesStream) delta(kind, piece string) {
	s.whole.WriteString(piece)
	s.send(kind, func(o *object) {
		s.place(o)
		o.text("delta", piece)
		if kind == "response.output_text.delta" {
			o.raw("logprobs", "[]")
		}
	})
}

func (s *responsesStream) text(_ int, piece string) {
	s.start("message", "msg_", func(id string) json.RawMessage { return messageItem(id, "in_progress") }, textPart(""))
	s.delta("response.output_text.delta", piece)
}

func (s *responsesStream) startReasoning() {
	s.start("reasoning", "rs_", func(id string) json.RawMessage { return reasoningItem(id, "", "", "in_progress") }, reasoningPart(""))
}

func (s *responsesStream) reasoning(_ int, piece string) {
	s.startReasoning()
	s.delta("response.reasoning_text.delta", piece)
}

// thought adds a block to the open item of reasoning. Each item is sent back before the rest of its message.
func (s *responsesStream) thought(_ int, p backend.Protocol, b backend.ReasoningBlock) {
	s.startReasoning()
	b.After = 0
	s.protocol, s.blocks = p, append(s.blocks, b)
}

// seal returns the reasoning of the open item as encrypted_content.
func (s *responsesStream) seal(text string) string {
	r := backend.Reasoning{Text: text, Protocol: s.protocol, Blocks: s.blocks}
	if len(s.blocks) == 0 {
		r.Protocol, r.Fields = backend.ProtocolChat, []string{"reasoning_content"}
	}
	s.protocol, s.blocks = "", nil
	return sealedReasoning(&r, s.sealed)
}

func (s *responsesStream) tool(_ int, c backend.ToolCall, finish backend.FinishReason) {
	s.begin()
	s.stop("completed")
	s.id = newID("fc_")
	s.added(callItem(s.id, c, "", "in_progress"))
	place := func(o *object) {
		o.text("item_id", s.id)
		o.value("output_index", len(s.output))
	}
	s.send("response.function_call_arguments.delta", func(o *object) {
		place(o)
		o.text("delta", c.Arguments)
	})
	s.send("response.function_call_arguments.done", func(o *object) {
		place(o)
		o.text("name", c.Name)
		o.text("arguments", c.Arguments)
	})
	s.done(callItem(s.id, c, c.Arguments, itemStatus(finish)))
}

func (s *responsesStream) end(_ int, r *backend.Response) {
	s.begin()
	if r.Finish == backend.FinishRefused && r.Refusal != "" {
		s.start("refusal", "msg_", func(id string) json.RawMessage { return messageItem(id, "in_progress") }, refusalPart(""))
		s.delta("response.refusal.delta", r.Refusal)
	}
	s.stop(itemStatus(r.Finish))
	if len(s.output) == 0 {
		s.text(0, "")
		s.stop(itemStatus(r.Finish))
	}
	s.body.end(r, s.output)
}

func (s *responsesStream) finish([]*backend.Response) {
	kind := "response.completed"
	if s.body.Status == "incomplete" {
		kind = "response.incomplete"
	}
	s.send(kind, s.response)
}

// fail ends the stream. Some clients read the failed response, and others the error.
func (s *responsesStream) fail(f *failure) {
	s.begin()
	s.body.fail(f)
	s.send("response.failed", s.response)
	s.send("error", func(o *object) {
		e := f.openAI()
		o.value("code", e.Code)
		o.text("message", e.Message)
		o.value("param", e.Param)
	})
}

package modelapi

import (
	"encoding/json"

	"github.com/batchagent/batchagent/pkg/backend"
)

// chatStream writes a stream of chat completion chunks.
type chatStream struct {
	out    *eventWriter
	head   chatHead
	usage  bool
	states []chatState
}

func newChatStream(out *eventWriter, q *request) *chatStream {
	return &chatStream{out: out, head: newChatHead("chat.completion.chunk", q), usage: q.usage, states: make([]chatState, q.choices)}
}

type chatState struct {
	begun bool
	calls int
}

type chatChunk struct {
	chatHead

	Choices []chatDelta `json:"choices"`
	Usage   *chatUsage  `json:"usage,omitempty"`
}

type chatDelta struct {
	Index        int             `json:"index"`
	Delta        json.RawMessage `json:"delta"`
	Logprobs     *struct{}       `json:"logprobs"`
	FinishReason *string         `json:"finish_reason"`
}

func (s *chatStream) send(choice int, delta json.RawMessage, finish *string) {
	s.out.event("", chatChunk{s.head, []chatDelta{{Index: choice, Delta: delta, FinishReason: finish}}, nil})
}

// begin sends the first chunk of a choice, which has the role only.
func (s *chatStream) begin(choice int) {
	if !s.states[choice].begun {
		s.states[choice].begun = true
		s.send(choice, json.RawMessage(`{"role":"assistant","content":""}`), nil)
	}
}

func (s *chatStream) member(choice int, name, value string) {
	s.begin(choice)
	var o object
	o.text(name, value)
	s.send(choice, o.json(), nil)
}

func (s *chatStream) text(choice int, piece string) { s.member(choice, "content", piece) }

func (s *chatStream) reasoning(choice int, piece string) {
	s.member(choice, "reasoning_content", piece)
}

func (s *chatStream) thought(int, backend.Protocol, backend.ReasoningBlock) {} // the last delta has all blocks

func (s *chatStream) tool(choice int, c backend.ToolCall, _ backend.FinishReason) {
	s.begin(choice)
	var o object
	o.value("tool_calls", []json.RawMessage{newChatCall(s.states[choice].calls, c)})
	s.states[choice].calls++
	s.send(choice, o.json(), nil)
}

func (s *chatStream) end(choice int, r *backend.Response) {
	s.begin(choice)
	if m := r.Message.Reasoning; m != nil {
		var o object
		more := *m
		more.Text, more.Fields = "", nil // the text was sent
		if o.streamedBlocks(m, &more); len(o.buf) > 0 {
			s.send(choice, o.json(), nil)
		}
	}
	if r.Finish == backend.FinishRefused && r.Refusal != "" {
		s.member(choice, "refusal", r.Refusal)
	}
	finish := chatFinish(r)
	s.send(choice, json.RawMessage("{}"), &finish)
}

// streamedBlocks adds the members of reasoning beside its text.
func (o *object) streamedBlocks(whole, more *backend.Reasoning) {
	if len(whole.Split()) == 0 {
		o.reasoning(more)
		return
	}
	o.value("thinking_blocks", thinkingBlocks(whole))
}

func (s *chatStream) finish(all []*backend.Response) {
	if s.usage {
		u := newChatUsage(usageOf(all))
		s.out.event("", chatChunk{s.head, []chatDelta{}, &u})
	}
	s.out.raw("", []byte("[DONE]"))
}

func (s *chatStream) fail(f *failure) {
	s.out.event("", map[string]any{"error": f.openAI()})
}

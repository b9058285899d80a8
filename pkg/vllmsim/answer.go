package vllmsim

import (
	"fmt"
	"strings"

	"github.com/batchagent/batchagent/pkg/vllmsim/internal/sample"
)

// kind is the place of a token in the response.
type kind uint8

const (
	kindContent kind = iota // in the content
	kindHidden              // nowhere: the tool parser removes it, or it ends the turn
	kindCall                // the token that completes a call's name
	kindArgs                // in a call's arguments
)

// piece is one token of the answer. Its text is answer.text[start:end] for kindContent and kindArgs.
type piece struct {
	kind       kind
	start, end int32
}

// answer is what the model writes: text, or one tool call.
type answer struct {
	text     string // the content, or the call's arguments
	call     *call
	required bool // the call was not the model's own choice
	pieces   []piece
	finish   string // finish_reason of the choice
	reason   string // finished_reason in the metrics
	stop     string // the stop string that ended the answer
	whole    []uint64
}

type call struct{ id, name string }

// content is the text of a message without a call.
func (a *answer) content() string {
	if a.call != nil {
		return ""
	}
	return a.text
}

// answer creates the answer. It depends only on the seed, the conversation and the fault plan.
func (s *Server) answer(p *prompt, f faultPlan) *answer {
	seed := mix(s.cfg.Seed ^ p.tokens.hash)
	h := hints{text: lastUser(p.req.Messages), nth: p.turnsDone()}
	a := &answer{finish: "stop", reason: "stop"}
	if t := p.toolToCall(&h); t != nil {
		a.text = t.arguments(&h, seed)
		if f.malformed {
			a.text = malform(a.text, seed)
		}
		a.call = &call{id: fmt.Sprintf("chatcmpl-tool-%016x", seed), name: t.name}
		a.required = p.mode != toolsAuto
		if p.mode != toolsNamed {
			a.finish = "tool_calls"
		}
		a.addCall()
	} else {
		a.text = finalText(p, &h, seed, f)
		a.addContent()
		a.cutAtStop(p.stops)
	}
	a.end(p)
	return a
}

// toolToCall returns the tool to call in this turn, or nil to answer.
func (p *prompt) toolToCall(h *hints) *tool {
	switch {
	case p.mode == toolsOff || p.tools == nil:
		return nil
	case p.mode == toolsNamed:
		return &p.tools.list[p.named]
	case p.mode == toolsRequired:
		return p.tools.choose(h)
	case p.enforced:
		// The real server returns no tool calls when a response format is enforced.
		return nil
	case h.nth < p.toolTurns:
		return p.tools.choose(h)
	default:
		return nil
	}
}

// turnsDone counts the tool turns since the last user message. If the prompt shows a schema, and so wants one final answer, it
// counts those of the whole conversation. A request to repair that answer then does not start over.
func (p *prompt) turnsDone() int {
	turns := 0
	for i := range p.req.Messages {
		switch m := &p.req.Messages[i]; {
		case m.Role == "user" && p.schema == nil:
			turns = 0
		case len(m.ToolCalls) > 0:
			turns++
		}
	}
	return turns
}

func lastUser(messages []message) string {
	for i := len(messages) - 1; i >= 0; i-- {
		if m := &messages[i]; m.Role == "user" {
			return string(m.Content)
		}
	}
	return ""
}

func finalText(p *prompt, h *hints, seed uint64, f faultPlan) string {
	words := firstWords(h.text, maxWords)
	if p.schema != nil {
		if f.invalid {
			return p.schema.Invalid()
		}
		return string(p.schema.Append(nil, sample.Source{Seed: seed, Words: words, Text: h.echo}))
	}
	if words == "" {
		words = "an empty prompt"
	}
	return "simulated: an answer to \"" + words + "\"."
}

// malform breaks arguments like real models do: with an extra brace, or cut short.
func malform(arguments string, seed uint64) string {
	if seed%2 == 0 {
		return arguments + "}"
	}
	return strings.TrimRight(arguments, "}") + ", \""
}

func (a *answer) addCall() {
	// Count tokens as template.go writes a call, so that the next turn's prompt begins with the same tokens.
	hide := func(text string) {
		for range countTokens(text) {
			a.pieces = append(a.pieces, piece{kind: kindHidden})
		}
	}
	hide(callOpen)
	hide(a.call.name)
	a.pieces[len(a.pieces)-1].kind = kindCall
	hide(callMid)
	a.split(kindArgs)
	hide(callClose)
}

func (a *answer) addContent() { a.split(kindContent) }

func (a *answer) split(k kind) {
	for i := 0; i < len(a.text); {
		end := tokenEndAt(a.text, i)
		a.pieces = append(a.pieces, piece{kind: k, start: int32(i), end: int32(end)}) //nolint:gosec // answers are small
		i = end
	}
}

// cutAtStop ends the text before the first stop string in it.
func (a *answer) cutAtStop(stops []string) {
	at := len(a.text)
	for _, stop := range stops {
		if i := strings.Index(a.text, stop); stop != "" && i >= 0 && i < at {
			at, a.stop = i, stop
		}
	}
	if a.stop == "" {
		return
	}
	a.text, a.pieces = a.text[:at], nil
	a.addContent()
}

// end closes the turn with its end token, or cuts it at the token limit.
func (a *answer) end(p *prompt) {
	if len(a.pieces) >= p.maxOutput {
		a.pieces = a.pieces[:p.maxOutput]
		a.finish, a.reason, a.stop = "length", "length", ""
		last := 0
		for _, piece := range a.pieces {
			last = max(last, int(piece.end))
		}
		a.text = a.text[:last]
		return
	}
	a.pieces = append(a.pieces, piece{kind: kindHidden})
	whole := p.tokens.fork()
	if a.call != nil {
		renderCall(&whole, a.call.name, a.text)
	} else {
		whole.text(a.text)
	}
	endMessage(&whole)
	a.whole = whole.blocks
}

// named reports whether the first n tokens contain the call's whole name.
func (a *answer) named() bool {
	for _, p := range a.pieces {
		if p.kind == kindCall {
			return true
		}
	}
	return false
}

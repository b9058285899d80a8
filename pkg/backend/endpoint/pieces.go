package endpoint

import (
	"encoding/json"
	"errors"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/redact"
)

// Pieces redacts secrets in assembled answers. A server may send a key in pieces, such as a character per event. [Discreet] sees
// one event at a time and does not find such a key.
type Pieces struct {
	// Secrets returns the secrets. A nil result redacts nothing.
	Secrets func() *redact.Secrets
}

// KeyInPieces returns Pieces for a key, unless the key may be an ordinary word.
func KeyInPieces(key string) Pieces {
	var secrets *redact.Secrets
	if !redact.IsWord(key) {
		secrets = redact.New(key)
	}
	return Pieces{func() *redact.Secrets { return secrets }}
}

// Observer returns o with redacted pieces and tool calls. It holds back text that may be the start of a secret
// until something else begins.
func (p Pieces) Observer(o backend.Observer) backend.Observer {
	endReasoning, endText := p.observeReasoning(&o), func() {}
	if report := o.Text; report != nil {
		text := &redactor{pieces: p, report: report}
		endText = text.end
		o.Text = func(piece string) {
			endReasoning()
			text.add(piece)
		}
	}
	if call := o.ToolCall; call != nil {
		o.ToolCall = func(index int, c backend.ToolCall) {
			endReasoning()
			endText()
			call(index, p.call(c))
		}
	}
	return o
}

// Answer returns the results of a model call with redacted texts.
func (p Pieces) Answer(r *backend.Response, err error) (*backend.Response, error) {
	s := p.Secrets()
	if e, ok := errors.AsType[*backend.Error](err); ok {
		e.Message, e.Partial = s.Text(e.Message), s.Text(e.Partial)
	}
	if r == nil {
		return nil, err
	}
	m := &r.Message
	m.Content, r.Refusal = s.Text(m.Content), s.Text(r.Refusal)
	for i, c := range m.ToolCalls {
		m.ToolCalls[i] = p.call(c)
	}
	if m.Reasoning != nil {
		m.Reasoning = p.reasoning(*m.Reasoning)
	}
	return r, err
}

func (p Pieces) call(c backend.ToolCall) backend.ToolCall {
	s := p.Secrets()
	c.ID, c.Name, c.Arguments, c.Extra = s.Text(c.ID), s.Text(c.Name), s.Text(c.Arguments), redactedJSON(s, c.Extra)
	return c
}

// reasoning redacts a model's reasoning. Redacted reasoning is never sent back, because its blocks and signatures no longer match its
// text.
func (p Pieces) reasoning(r backend.Reasoning) *backend.Reasoning {
	s := p.Secrets()
	if text := s.Text(r.Text); text != r.Text {
		return &backend.Reasoning{Text: text}
	}
	for name, value := range r.Extra {
		r.Extra[name] = redactedJSON(s, value)
	}
	return &r
}

// redactedJSON redacts a JSON text.
func redactedJSON(s *redact.Secrets, value json.RawMessage) json.RawMessage {
	if text := s.Text(string(value)); text != string(value) {
		return json.RawMessage(text)
	}
	return value
}

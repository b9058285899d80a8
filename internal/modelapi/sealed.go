package modelapi

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/batchagent/batchagent/pkg/backend"
)

// A program sends reasoning back in the form of its API, which cannot express all that a model server needs. The rest travels in a
// member that clients send back unread: the signature of Anthropic's blocks, and encrypted_content of the Responses API.

// sealPrefix starts a sealed text. No service creates a signature with it.
const sealPrefix = "batchagent."

// seal packs a reasoning as a text.
func seal(r backend.Reasoning) string {
	data, err := json.Marshal(r) // sorted names: equal values give equal texts
	if err != nil {
		return ""
	}
	return sealPrefix + base64.RawURLEncoding.EncodeToString(data)
}

// unseal reverses seal. It returns false for any other text. A program can write such a text, too. So only members of a message that
// carry reasoning are kept.
func unseal(s string) (r backend.Reasoning, ok bool) {
	rest, ok := strings.CutPrefix(s, sealPrefix)
	if !ok {
		return r, false
	}
	data, err := base64.RawURLEncoding.DecodeString(rest)
	if err != nil || json.Unmarshal(data, &r) != nil {
		return r, false
	}
	known := func(name string) bool {
		return slices.Contains(thoughtTexts, name) || slices.Contains(thoughtExtras, name)
	}
	r.Fields = slices.DeleteFunc(r.Fields, func(name string) bool { return !known(name) })
	maps.DeleteFunc(r.Extra, func(name string, _ json.RawMessage) bool { return !known(name) })
	return r, true
}

// signatureOf returns the signature of a block of reasoning in Anthropic's form. A signature of Anthropic's own service stays as it is.
func signatureOf(p backend.Protocol, signature string, fields []string, extra map[string]json.RawMessage) string {
	if p == backend.ProtocolAnthropic {
		return signature
	}
	sealed := backend.Reasoning{Protocol: p, Fields: fields, Extra: extra}
	if signature != "" {
		sealed.Blocks = []backend.ReasoningBlock{{Signature: signature}}
	}
	return seal(sealed)
}

// redactedOf returns the data of a block of encrypted reasoning in Anthropic's form.
func redactedOf(p backend.Protocol, data string) string {
	if p == backend.ProtocolAnthropic {
		return data
	}
	return seal(backend.Reasoning{Protocol: p, Blocks: []backend.ReasoningBlock{{Redacted: data}}})
}

// thoughtList rebuilds the reasoning of a message from the blocks of a program's request.
type thoughtList struct {
	all  backend.Reasoning
	text strings.Builder
	used bool
}

// add adds a block. after is the number of the message's other blocks before it.
func (l *thoughtList) add(text, signature, redacted string, after int) {
	b := backend.ReasoningBlock{Bytes: len(text), Signature: signature, Redacted: redacted, After: after}
	p := backend.ProtocolAnthropic
	if s, ok := unseal(signature + redacted); ok {
		p, b.Signature, b.Redacted = s.Protocol, "", ""
		if len(s.Blocks) > 0 {
			b.Signature, b.Redacted = s.Blocks[0].Signature, s.Blocks[0].Redacted
		}
		l.all.Fields, l.all.Extra = s.Fields, s.Extra
	} else if signature+redacted == "" {
		p = "" // no service accepts it
	}
	if l.used && p != l.all.Protocol {
		p = "" // a mixture is sent to no service
	}
	l.used, l.all.Protocol = true, p
	l.text.WriteString(text)
	l.all.Blocks = append(l.all.Blocks, b)
}

// reasoning returns the reasoning; nil without blocks.
func (l *thoughtList) reasoning() *backend.Reasoning {
	if !l.used {
		return nil
	}
	r := l.all
	r.Text = l.text.String()
	if r.Protocol == backend.ProtocolChat || r.Protocol == "" {
		r.Blocks = nil
	}
	if r.Protocol == backend.ProtocolChat && len(r.Fields) == 0 && len(r.Extra) == 0 {
		r.Fields = []string{"reasoning_content"}
	}
	return &r
}

package openaichat

import (
	"encoding/json"
	"slices"

	"github.com/batchagent/batchagent/pkg/backend"
)

// Repaired returns messages in which every tool call has a JSON object as arguments. Some servers refuse a conversation
// with other arguments. Since a conversation only grows, every later turn would fail too. The model's text is kept
// inside the object, so that the model sees its mistake. Equal messages give equal bytes. The input is not changed.
func Repaired(in []backend.Message) []backend.Message {
	out := in
	for i, m := range in {
		for j, c := range m.ToolCalls {
			if c.Arguments == "" || isObject(c.Arguments) {
				continue
			}
			if &out[0] == &in[0] {
				out = slices.Clone(in)
			}
			if &out[i].ToolCalls[0] == &m.ToolCalls[0] {
				out[i].ToolCalls = slices.Clone(m.ToolCalls)
			}
			kept, _ := json.Marshal(map[string]string{"not_json": c.Arguments}) // a string always encodes
			out[i].ToolCalls[j].Arguments = string(kept)
		}
	}
	return out
}

// ReasoningAs returns messages with their reasoning in the member field, for a server with only this name. Reasoning
// from another server of the protocol may have another name. The input is not changed.
func ReasoningAs(field string, in []backend.Message) []backend.Message {
	out := in
	for i, m := range in {
		r := m.Reasoning.For(backend.ProtocolChat)
		if r == nil || len(r.Fields) == 0 || len(r.Fields) == 1 && r.Fields[0] == field {
			continue
		}
		if &out[0] == &in[0] {
			out = slices.Clone(in)
		}
		renamed := *r
		renamed.Fields = []string{field}
		out[i].Reasoning = &renamed
	}
	return out
}

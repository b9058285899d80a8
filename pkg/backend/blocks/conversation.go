package blocks

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/batchagent/batchagent/pkg/backend"
)

// Entry is one turn of a conversation: all consecutive messages of one side.
type Entry struct {
	Assistant bool // false for the user; a user's entries include tool results
	Blocks    []Block
}

// Block is one part of an entry: a text, reasoning, a call or a result.
type Block struct {
	Text    string
	Thought *Thought
	Call    *backend.ToolCall // its arguments are a JSON object
	Result  string            // the ID of the call that Text, or Parts, is the result of
	Part    *backend.Part     // an image, or a part that the protocols do not have
	Parts   []backend.Part    // of a result; nil for a text
	// Mark reports that other conversations may begin with the same blocks up to this one, so that a cache mark is worthwhile here.
	Mark bool
}

// Conversation converts messages into the system text and alternating entries. Consecutive messages of one side become
// one entry, as the protocols require for the results of parallel calls. Results come before other blocks. Empty texts
// are omitted, because servers refuse them. Arguments that are not a JSON object become an object that holds them as
// text, so that the model can see them. Reasoning of other protocols is omitted.
func Conversation(p backend.Protocol, msgs []backend.Message) (system string, entries []Entry) {
	var sys []string
	for _, m := range msgs {
		if m.Role == backend.RoleSystem {
			if text := m.Text(); text != "" {
				sys = append(sys, text)
			}
			continue
		}
		assistant := m.Role == backend.RoleAssistant
		if n := len(entries); n == 0 || entries[n-1].Assistant != assistant {
			entries = append(entries, Entry{Assistant: assistant})
		}
		e := &entries[len(entries)-1]
		e.Blocks = append(e.Blocks, blocksOf(p, m)...)
	}
	for i := range entries {
		e := &entries[i]
		e.Blocks = resultsFirst(e.Blocks)
		if len(e.Blocks) == 0 {
			e.Blocks = []Block{{Text: "(empty)"}}
		}
	}
	return strings.Join(sys, "\n\n"), entries
}

func blocksOf(p backend.Protocol, m backend.Message) []Block {
	if m.Role == backend.RoleTool {
		text := m.Text()
		parts := filled(m.Parts)
		if text == "" && len(parts) == 0 {
			text = "(empty)"
		}
		return []Block{{Text: text, Parts: parts, Result: CleanID(m.ToolCallID)}}
	}
	var out []Block
	for _, p := range filled(m.Parts) {
		if p.Image == "" && p.Other == nil {
			out = append(out, Block{Text: p.Text})
		} else {
			out = append(out, Block{Part: &p})
		}
	}
	if lead := m.Content[:min(m.Lead, len(m.Content))]; strings.TrimSpace(lead) != "" && strings.TrimSpace(m.Content[len(lead):]) != "" {
		out = append(out, Block{Text: lead, Mark: true}, Block{Text: m.Content[len(lead):]})
	} else if strings.TrimSpace(m.Content) != "" { // servers also refuse a text of whitespace only
		out = append(out, Block{Text: m.Content})
	}
	for _, c := range m.ToolCalls {
		c.ID = CleanID(c.ID)
		c.Arguments = object(c.Arguments)
		out = append(out, Block{Call: &c})
	}
	if m.Role == backend.RoleAssistant {
		out = withReasoning(out, m.Reasoning.For(p))
	}
	return out
}

// filled returns the parts without blank texts, which servers refuse.
func filled(in []backend.Part) []backend.Part {
	var out []backend.Part
	for _, p := range in {
		if p.Image != "" || p.Other != nil || strings.TrimSpace(p.Text) != "" {
			out = append(out, p)
		}
	}
	return out
}

// resultsFirst moves results before other blocks and keeps the order within both.
func resultsFirst(in []Block) []Block {
	var results, others []Block
	for _, b := range in {
		if b.Result != "" {
			results = append(results, b)
		} else {
			others = append(others, b)
		}
	}
	return append(results, others...)
}

// CleanID converts a call ID of any server into a valid one: letters, digits, _ and -, at most 64.
func CleanID(id string) string {
	id = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return '_'
	}, id)
	if len(id) > 64 {
		id = id[len(id)-64:] // the end differs between calls
	}
	if id == "" {
		id = "call"
	}
	return id
}

func object(args string) string {
	if strings.TrimSpace(args) == "" {
		return "{}"
	}
	if trimmed := bytes.TrimSpace([]byte(args)); trimmed[0] == '{' && json.Valid(trimmed) {
		return args
	}
	wrapped, _ := json.Marshal(map[string]string{"malformed_arguments": args}) // strings always encode
	return string(wrapped)
}

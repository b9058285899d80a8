package agent

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
)

const (
	// compactAt is the share of the model's context beyond which old tool results are shortened.
	compactAt = 0.85
	// compactTo is what is left of a shortened tool result, bytes.
	compactTo = 400
)

// conversation is what the model is shown, and the sums over its turns. It is a pure function of the program, the
// prompt and the turns, so a takeover rebuilds it byte for byte.
type conversation struct {
	messages []backend.Message
	window   int // tokens of context; 0 if not known
	turns    int
	repaired bool // a repair turn was asked for
	usage    batch.Usage
	counts   batch.ToolCounts
	model    string
}

func newConversation(p *Program, prompt string) *conversation {
	c := &conversation{window: p.model.MaxModelLen, model: p.model.ID}
	if p.plan.System != "" {
		c.messages = append(c.messages, backend.Message{Role: backend.RoleSystem, Content: p.plan.System})
	}
	c.messages = append(c.messages, backend.Message{Role: backend.RoleUser, Content: prompt})
	return c
}

// replay adds the turns of earlier attempts.
func (c *conversation) replay(journal [][]byte) error {
	for i, data := range journal {
		var t Turn
		if err := json.Unmarshal(data, &t); err != nil {
			return fmt.Errorf("read turn %d of the journal: %w", i+1, err)
		}
		c.add(t)
	}
	return nil
}

// add appends a turn's messages. When the context is nearly full, the tool results of earlier turns are shortened; a
// call and its result stay together.
func (c *conversation) add(t Turn) {
	old := len(c.messages)
	c.messages = append(c.messages, t.Assistant)
	c.messages = append(c.messages, t.Tools...)
	if t.Repair != "" {
		c.messages = append(c.messages, backend.Message{Role: backend.RoleUser, Content: t.Repair})
		c.repaired = true
	}
	c.count(t)
	if c.window > 0 && float64(t.Usage.PromptTokens+t.Usage.CompletionTokens) > compactAt*float64(c.window) {
		for i, m := range c.messages[:old] {
			if m.Role == backend.RoleTool && len(m.Content) > 2*compactTo {
				c.messages[i].Content = shorten(m.Content)
			}
		}
	}
}

// count adds a turn to the sums.
func (c *conversation) count(t Turn) {
	c.turns++
	c.usage.Add(t.Usage)
	c.counts.Add(t.Counts)
	if t.Model != "" {
		c.model = t.Model
	}
}

func shorten(s string) string {
	return strings.ToValidUTF8(s[:compactTo], "") +
		fmt.Sprintf("\n[the other %d bytes of this result were left out to make room]", len(s)-compactTo)
}

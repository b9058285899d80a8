package blocks

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/batchagent/batchagent/pkg/backend"
)

func TestLeadIsABlockOfItsOwn(t *testing.T) {
	for name, c := range map[string]struct {
		content string
		lead    int
		want    []Block
	}{
		"none":       {"ab", 0, []Block{{Text: "ab"}}},
		"both":       {"ab", 1, []Block{{Text: "a", Mark: true}, {Text: "b"}}},
		"blank rest": {"a \n", 1, []Block{{Text: "a \n"}}},
		"all":        {"ab", 2, []Block{{Text: "ab"}}},
		"too long":   {"ab", 9, []Block{{Text: "ab"}}},
	} {
		_, entries := Conversation(backend.ProtocolAnthropic, []backend.Message{{Role: backend.RoleUser, Content: c.content, Lead: c.lead}})
		assert.Equal(t, c.want, entries[0].Blocks, name)
	}
}

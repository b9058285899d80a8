package blocks

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/batchagent/batchagent/pkg/backend"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestClosedForbidsOtherPropertiesAndKeepsTheOrder(t *testing.T) {
	out, err := Closed([]byte(`{"type":"object","properties":{"z":{"type":"object","properties":{"additionalProperties":{"type":"string"}}},
		"a":{"type":"array","items":{"properties":{}}},"open":{"properties":{},"additionalProperties":true},
		"any":{"anyOf":[{"properties":{"b":true}},{"type":"null"}]}},"$defs":{"d":{"properties":{}}},"required":["z"]}`))
	require.NoError(t, err)
	assert.Equal(t, `{"type":"object","properties":{"z":{"type":"object","properties":{"additionalProperties":{"type":"string"}},"additionalProperties":false},`+
		`"a":{"type":"array","items":{"properties":{},"additionalProperties":false}},"open":{"properties":{},"additionalProperties":true},`+
		`"any":{"anyOf":[{"properties":{"b":true},"additionalProperties":false},{"type":"null"}]}},"$defs":{"d":{"properties":{},"additionalProperties":false}},"required":["z"],"additionalProperties":false}`, string(out))
	again, err := Closed(out)
	require.NoError(t, err)
	assert.Equal(t, string(out), string(again))
	for _, broken := range []string{`{`, `{"properties":3}`, `{"anyOf":{}}`} {
		_, err := Closed([]byte(broken))
		assert.Error(t, err, broken)
	}
}

// For any messages, entries alternate, none is empty, no text is blank, IDs are clean, and arguments are objects.
func TestConversationIsValidForAnyMessages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom([]string{"", " ", "hello", "é😀"})
		var msgs []backend.Message
		for range rapid.IntRange(0, 8).Draw(t, "messages") {
			m := backend.Message{Role: rapid.SampledFrom([]backend.Role{backend.RoleSystem, backend.RoleUser, backend.RoleAssistant, backend.RoleTool}).Draw(t, "role"), Content: text.Draw(t, "content")}
			switch m.Role {
			case backend.RoleAssistant:
				for range rapid.IntRange(0, 2).Draw(t, "calls") {
					m.ToolCalls = append(m.ToolCalls, backend.ToolCall{ID: rapid.String().Draw(t, "id"), Name: "f", Arguments: rapid.SampledFrom([]string{"", "{}", `{"a":1}`, "[1]", "{", "null", " "}).Draw(t, "arguments")})
				}
			case backend.RoleTool:
				m.ToolCallID = rapid.String().Draw(t, "id")
			}
			msgs = append(msgs, m)
		}
		_, entries := Conversation(backend.ProtocolAnthropic, msgs)
		for i, e := range entries {
			if i > 0 && entries[i-1].Assistant == e.Assistant {
				t.Fatal("two entries of one side")
			}
			if len(e.Blocks) == 0 {
				t.Fatal("an empty entry")
			}
			others := false
			for _, b := range e.Blocks {
				switch {
				case b.Call != nil:
					var o map[string]any
					if json.Unmarshal([]byte(b.Call.Arguments), &o) != nil || o == nil || CleanID(b.Call.ID) != b.Call.ID {
						t.Fatalf("%+v", b.Call)
					}
				case b.Result != "":
					if others || b.Text == "" || CleanID(b.Result) != b.Result {
						t.Fatalf("%+v", b)
					}
				case strings.TrimSpace(b.Text) == "":
					t.Fatal("a blank text")
				default:
					others = true
				}
			}
		}
	})
}

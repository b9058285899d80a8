package modelapi

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/batchagent/batchagent/pkg/backend"
)

// TestAnswerComesBack checks that an answer that a program sends back is the message of the model server again. Else the server's
// prefix cache would miss it, and signed reasoning would be refused.
func TestAnswerComesBack(t *testing.T) {
	t.Parallel()
	for _, a := range answersOfServers {
		for api, route := range routes {
			t.Run(api+"/"+a.name, func(t *testing.T) {
				t.Parallel()
				want := a.response.Message
				_, _, body := post(t, &script{response: a.response}, route, with(api, options[api]))
				q, f := decoders[api](continued(t, api, body))
				require.Nil(t, f, "%+v", f)
				if len(q.call.Messages) == 2 { // an API has no form for an empty answer
					assert.Equal(t, backend.Message{Role: want.Role}, want)
					return
				}
				assert.Equal(t, expressible(api, want), q.call.Messages[1])
			})
		}
	}
}

// options are fields of a request with which the answer has all that the API can express.
var options = map[string]string{"chat": `"n":1`, "responses": `"include":["reasoning.encrypted_content"]`, "messages": `"top_k":1`}

// continued returns a request with an answer in its conversation.
func continued(t *testing.T, api, body string) string {
	t.Helper()
	var first, answer, last string
	switch api {
	case "chat":
		first, last = `{"role":"user","content":"hi"}`, `{"role":"user","content":"go on"}`
		return fmt.Sprintf(`{"messages":[%s,%s,%s]}`, first, gjson.Get(body, "choices.0.message").Raw, last)
	case "responses":
		for _, item := range gjson.Get(body, "output").Array() {
			answer += item.Raw + ","
		}
		return fmt.Sprintf(`{"input":[{"role":"user","content":"hi"},%s{"role":"user","content":"go on"}]}`, answer)
	default:
		first, last = `{"role":"user","content":"hi"}`, `{"role":"user","content":"go on"}`
		return fmt.Sprintf(`{"max_tokens":9,"messages":[%s,{"role":"assistant","content":%s},%s]}`, first, gjson.Get(body, "content").Raw, last)
	}
}

// expressible returns the part of a message that an API can express.
func expressible(api string, m backend.Message) backend.Message {
	m.Role = backend.RoleAssistant
	calls := m.ToolCalls
	m.ToolCalls = nil
	for _, c := range calls {
		if api != "chat" {
			c.Extra = nil
		}
		if api == "messages" {
			if !json.Valid([]byte(c.Arguments)) {
				c.Arguments = `{"malformed_arguments":"` + c.Arguments + `"}`
			}
			c.Arguments = compact(value{c.Arguments})
		}
		m.ToolCalls = append(m.ToolCalls, c)
	}
	if api == "chat" && m.Reasoning != nil {
		r := *m.Reasoning
		m.Reasoning = &r
	}
	return m
}

// TestSealedReasoning checks that a text that was not sealed here is no reasoning.
func TestSealedReasoning(t *testing.T) {
	t.Parallel()
	r := backend.Reasoning{Text: "a", Protocol: backend.ProtocolBedrock, Blocks: []backend.ReasoningBlock{{Bytes: 1, Signature: "s"}}}
	got, ok := unseal(seal(r))
	assert.True(t, ok)
	assert.Equal(t, r, got)
	for _, s := range []string{"", "sig", sealPrefix, sealPrefix + "!", sealPrefix + "YWJj"} {
		_, ok := unseal(s)
		assert.False(t, ok, s)
	}
	forged, ok := unseal(seal(backend.Reasoning{Text: "a", Fields: []string{"role", "reasoning"}, Extra: map[string]json.RawMessage{"tool_calls": []byte("[]")}}))
	assert.True(t, ok)
	assert.Equal(t, []string{"reasoning"}, forged.Fields)
	assert.Empty(t, forged.Extra)
	var mixed thoughtList
	mixed.add("a", "sig", "", 0)
	mixed.add("b", seal(backend.Reasoning{Protocol: backend.ProtocolChat}), "", 0)
	assert.Equal(t, &backend.Reasoning{Text: "ab"}, mixed.reasoning())
	var foreign thoughtList
	foreign.add("a", "", "", 0)
	assert.Equal(t, &backend.Reasoning{Text: "a"}, foreign.reasoning())
}

package agent

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/plainjson"
)

// A journal's turn that was read is written and read again in the same form, for any bytes.
func FuzzDecodeTurn(f *testing.F) {
	f.Add([]byte(`{"assistant":{"role":"assistant","content":"a","tool_calls":[{"id":"1","name":"f","arguments":"{}"}]},"tools":[{"role":"tool","content":"x"}]}`))
	f.Add([]byte(`{"assistant":{"content":"\ud800"},"left_out":-1}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, data []byte) {
		turn, err := decodeTurn(data)
		if err != nil {
			return
		}
		once, err := plainjson.Marshal(turn)
		require.NoError(t, err)
		again, err := decodeTurn(once)
		require.NoError(t, err)
		twice, err := plainjson.Marshal(again)
		require.NoError(t, err)
		require.JSONEq(t, string(once), string(twice))
		newConversation := conversation{}
		newConversation.add(again)
	})
}

// The outcome of a call with side effects and the turn that requested it come from Redis.
func FuzzOpenTurn(f *testing.F) {
	f.Add([]byte(`{"message":{"role":"assistant","tool_calls":[{"id":"1","name":"f","arguments":"{}"}]},"usage":{"prompt_tokens":1},"model":"m"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var o openedTurn
		if json.Unmarshal(data, &o) != nil {
			return
		}
		once, err := json.Marshal(o)
		require.NoError(t, err)
		var again openedTurn
		require.NoError(t, json.Unmarshal(once, &again))
	})
}

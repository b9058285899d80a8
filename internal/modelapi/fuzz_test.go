package modelapi

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
)

func FuzzChat(f *testing.F)      { fuzz(f, "chat") }
func FuzzResponses(f *testing.F) { fuzz(f, "responses") }
func FuzzMessages(f *testing.F)  { fuzz(f, "messages") }

// fuzz checks that any body is refused, or becomes a valid request: the same one each time, and one that a journal can store.
func fuzz(f *testing.F, api string) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", api, "*.request.json"))
	require.NoError(f, err)
	for _, file := range files {
		body, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(string(body))
	}
	f.Add(least[api])
	f.Add(with(api, `"temperature":1e999,"max_tokens":9223372036854775808,"seed":1e18`))
	f.Fuzz(func(t *testing.T, body string) {
		q, failed := decoders[api](body)
		if failed != nil {
			assert.NotEmpty(t, failed.message)
			assert.GreaterOrEqual(t, failed.status, 400)
			return
		}
		assert.NotEmpty(t, q.call.Messages)
		assert.LessOrEqual(t, q.choices, maxChoices)
		for _, m := range q.call.Messages {
			assert.True(t, utf8.ValidString(m.Text()))
			assert.NotEmpty(t, m.Role)
			assert.False(t, m.Content != "" && len(m.Parts) > 0, "content and parts")
			stored, err := json.Marshal(m)
			require.NoError(t, err)
			var read backend.Message
			require.NoError(t, json.Unmarshal(stored, &read))
			again, err := json.Marshal(read)
			require.NoError(t, err)
			assert.JSONEq(t, string(stored), string(again))
		}
		for name, value := range q.call.Sampling.ExtraBody {
			assert.True(t, json.Valid(value))
			assert.False(t, isOneOf(name, ownFields), name)
		}
		same, failed := decoders[api](body)
		require.Nil(t, failed)
		assert.Equal(t, q, same)
	})
}

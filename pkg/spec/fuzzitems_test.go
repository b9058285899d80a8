package spec

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// A planner's answer gives jobs that can be read back, or an error.
func FuzzItems(f *testing.F) {
	f.Add([]byte(`{"items":[1,"a",{"item":2},{"a":[]}]}`))
	f.Add([]byte(`{"items":[null]}`))
	f.Fuzz(func(t *testing.T, output []byte) {
		if !json.Valid(output) {
			t.Skip("an output is valid JSON")
		}
		c := &Compiled{MaxItems: 100}
		payloads, err := c.Items(output)
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(payloads), 100)
		for _, payload := range payloads {
			require.True(t, json.Valid(payload))
			item := ItemOf(payload)
			require.NotNil(t, item)
			_, _ = itemInput(item)
		}
	})
}

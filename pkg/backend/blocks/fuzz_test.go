package blocks

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// A closed schema is valid JSON, and closing it again does not change it.
func FuzzClosed(f *testing.F) {
	f.Add([]byte(`{"type":"object","properties":{"a":{"type":"object"}},"anyOf":[{"items":{"type":"object"}}]}`))
	f.Add([]byte(`{"$defs":{"a":[1]},"properties":[]}`))
	f.Fuzz(func(t *testing.T, schema []byte) {
		once, err := Closed(schema)
		if err != nil || !json.Valid(schema) {
			return
		}
		require.True(t, json.Valid(once))
		twice, err := Closed(once)
		require.NoError(t, err)
		require.Equal(t, string(once), string(twice))
	})
}

package plainjson

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestMarshal(t *testing.T) {
	t.Parallel()
	text, err := Marshal(map[string]any{"b": "<a & b>", "a": json.Number("1.0")})
	require.NoError(t, err)
	assert.Equal(t, `{"a":1.0,"b":"<a & b>"}`, string(text))
	_, err = Marshal(func() {})
	assert.Error(t, err)
}

func TestAppendString(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.String().Draw(t, "s")
		text := AppendString([]byte("x"), want)
		require.Equal(t, byte('x'), text[0])
		var got string
		require.NoError(t, json.Unmarshal(text[1:], &got))
		assert.Equal(t, want, got)
	})
}

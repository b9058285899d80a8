package spec

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestExtraBodyNamesIgnoreCase(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Model", "MESSAGES", "Stream", "toolconfig", "Max_Tokens"} {
		assert.Error(t, Sampling{ExtraBody: map[string]json.RawMessage{name: json.RawMessage("1")}}.CheckExtraBody(), name)
	}
	assert.NoError(t, Sampling{ExtraBody: map[string]json.RawMessage{"top_k": json.RawMessage("1")}}.CheckExtraBody())
}

// A template of many placeholders takes linear time, and the length of a prompt is limited.
func TestPromptsOfManyPlaceholdersAreBounded(t *testing.T) {
	t.Parallel()
	began := time.Now()
	many := ParseTemplate(strings.Repeat("{x}", 100_000))
	_, err := many.replace(func(part) (string, bool) { return strings.Repeat("y", 10_000), true })
	require.ErrorIs(t, err, errTooLong)
	_, err = many.Render(map[string]any{"x": strings.Repeat("y", 10_000)})
	require.ErrorIs(t, err, errTooLong)
	short, err := many.replace(func(part) (string, bool) { return "yy", true })
	require.NoError(t, err)
	text, err := short.Render(nil)
	require.NoError(t, err)
	assert.Len(t, text, 200_000)
	assert.Less(t, time.Since(began), 20*time.Second)
}

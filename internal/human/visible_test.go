package human

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestVisible(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"report\u202efdp.exe":       `report\u202efdp.exe`,
		"a\u2066b\u2069c\u200fd":    `a\u2066b\u2069c\u200fd`,
		"red \x1b[31m\x07 \u009b1m": `red \u001b[31m\u0007 \u009b1m`,
		"line\n\ttab é שלום 👩‍👩‍👧":  "line\n\ttab é שלום 👩‍👩‍👧",
		"": "",
	} {
		assert.Equal(t, want, Visible(in))
	}
	assert.Equal(t, `x\u202ey z`, FirstLine("x\u202ey\nz", 60))
	assert.Equal(t, "ab", FirstLine("a\x1bb", 60))
}

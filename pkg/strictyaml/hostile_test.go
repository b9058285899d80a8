package strictyaml

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Brackets within strings are text. Deeply nested brackets are refused before a parser recurses.
func TestBracketsInStringsAreNoNesting(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("[", 20_000)
	for name, text := range map[string]string{
		"JSON":           `{"task": "` + many + ` {x}", "inputs": [{"x": 1}]}`,
		"double quotes":  "task: \"" + many + " {x}\"\ninputs: [{x: 1}]\n",
		"single quotes":  "task: '" + many + " {x}'\ninputs: [{x: 1}]\n",
		"block of lines": "task: |\n  it's \"" + many + " {x}\ninputs: [{x: 1}]\n",
	} {
		_, top := Parse("s.yaml", []byte(text), nil)
		assert.NotNil(t, top, name)
	}
	for name, text := range map[string]string{
		"plain":                   "inputs: " + many,
		"behind a quote":          "task: it's\ninputs: " + many,
		"behind a block's quotes": "task: |\n  \"it\ninputs: " + many,
		"mappings":                "inputs: " + strings.Repeat("{a: ", 20_000),
	} {
		began := time.Now()
		d, top := Parse("s.yaml", []byte(text), nil)
		assert.Nil(t, top, name)
		require.NotEmpty(t, d.Errs, name)
		assert.Contains(t, d.Errs[0].Error(), "nested more than", name)
		assert.Less(t, time.Since(began), 20*time.Second, name)
	}
}

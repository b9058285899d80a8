package spec

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// If YAML does not read unquoted text as text, the message suggests quotes.
func TestUnquotedTextSuggestsQuotes(t *testing.T) {
	t.Parallel()
	const quotes = "If the value of task is text, put it in quotes, or write `task: |` and the text on the next lines, indented"
	for task, want := range map[string]string{
		"{a}":              "field task: must be text, or {file: path}, not a mapping; put text that begins with { in quotes",
		"{a, b}":           "put text that begins with { in quotes",
		"[a]":              "field task: must be text, not a list; put text that begins with [ in quotes",
		"{{a}}":            quotes,
		"{a} is it":        quotes,
		"[a] is it":        quotes,
		"Say {a}: now":     "not valid YAML: mapping value is not allowed in this context. " + quotes,
		"Say: {a}":         quotes,
		"%a {a}":           quotes,
		"@a {a}":           quotes,
		"`a` {a}":          quotes,
		"*{a}* now":        quotes,
		"\"Say\" {a}":      quotes,
		"'Say' {a}":        quotes,
		"! {a}":            "put text that begins with ! in quotes",
		"&amp a {a} or so": "&amp is an anchor of YAML that no * refers to; put text that begins with & in quotes",
	} {
		_, err := load(t, "task: "+task+"\ninputs: [{a: 1}]\n", nil, LoadOptions{})
		require.Error(t, err, task)
		assert.Contains(t, err.Error(), want, task)
	}
	_, err := load(t, "task: \"say {a}\"\ninputs:\n- &one {a: 1}\n- *one\n- {a: &x b, c: *x}\n", nil, LoadOptions{})
	assert.NoError(t, err)
}

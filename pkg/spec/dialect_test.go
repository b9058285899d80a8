package spec

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A mark that may be text is reported if no prompt uses the field.
func TestMarksOfUnusedFieldsAreReported(t *testing.T) {
	t.Parallel()
	const inputs = "\ninputs: [{x: 1, text: a}, {x: 2, text: b}]\n"
	for task, want := range map[string]string{
		"Sum up <text> of {x}":                    "<text> in the task is text, and no prompt uses the field \"text\"; write {text} for its value",
		"Sum up [text] of {x}":                    "[text] in the task is text",
		"Sum up <text>{text}</text> of {x}":       "",
		"Answer in <text></text> about {x}":       "",
		"Follow [text](http://x.org) about {x}":   "",
		"Sum up text of {x}":                      "",
		"Sum up {text} in <text> tags, about {x}": "",
	} {
		p, err := compile(t, "task: \""+task+"\""+inputs, nil, LoadOptions{})
		require.NoError(t, err, task)
		if want == "" {
			assert.Empty(t, p.Notes, task)
			continue
		}
		require.Len(t, p.Notes, 1, task)
		assert.Contains(t, p.Notes[0], want)
	}
}

func FuzzDialect(f *testing.F) {
	for _, s := range []string{"{user[name]} $text", "<%= text %>", "[[text]] %text%", "#{text} %{text}", "{{{text}}}", `\textbf{text}`, "{{ user['name'] | x }}", "$x$ `$text`", "{% if text %}", "{user->nme.x}", "%(text)s", "{len(text)}"} {
		f.Add(s)
	}
	first, _, err := decodeFields([]byte(`{"text":"T","user":{"name":"n","a":[{"b":1}]},"a.b":1}`))
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<12 {
			t.Skip("size that adds nothing")
		}
		p := prompt{text: text, wording: parseWording(text)}
		data := dataNames{known: []string{"a.b", "text", "user"}, first: first, used: func(name string) bool { return name == "text" && strings.Contains(text, "{text}") }}
		if found := p.foreign(data); found.text != "" {
			require.Equal(t, found.text, text[found.offset:found.offset+len(found.text)])
			_, _, ok := lookup(first, found.path)
			require.True(t, ok, "the path %q does not exist", found.path)
			require.Contains(t, data.known, found.field)
		}
		for _, e := range p.checkNear(data, func(string) bool { return false }) {
			require.NotEmpty(t, e.Message)
			_, err := json.Marshal(e.Message)
			require.NoError(t, err)
		}
	})
}

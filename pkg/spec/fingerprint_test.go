package spec

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFingerprint(t *testing.T) {
	t.Parallel()
	of := func(c Compiled, model, prompt string, tools ...string) string {
		q, err := c.Question(model, tools)
		require.NoError(t, err)
		f := q.Fingerprint(prompt)
		assert.Len(t, f, FingerprintLength)
		return f
	}
	zero, half := 0.0, 0.5
	compiled := Compiled{System: "s", Schema: []byte(`{}`), Sampling: Sampling{Temperature: &zero, MaxTokens: 10}, MaxTurns: 3}
	want := of(compiled, "m", "p", "a", "b")
	assert.Equal(t, "Q2LoA0ZULpD3haukUk9WtQ", want, "the fingerprint of earlier versions")
	same := compiled
	same.Sampling.MaxTokens, same.MaxTurns, same.Name, same.Task = 20, 4, "n", "t"
	assert.Equal(t, want, of(same, "m", "p", "a", "b"))
	same.KeepReasoning = KeepAuto
	assert.Equal(t, want, of(same, "m", "p", "a", "b"))
	for what, change := range map[string]func(*Compiled){
		"system": func(c *Compiled) { c.System = "s2" }, "schema": func(c *Compiled) { c.Schema = nil },
		"temperature": func(c *Compiled) { c.Sampling.Temperature = &half }, "stop": func(c *Compiled) { c.Sampling.Stop = []string{"x"} },
		"always": func(c *Compiled) { c.KeepReasoning = KeepAlways }, "never": func(c *Compiled) { c.KeepReasoning = KeepNever },
	} {
		other := compiled
		change(&other)
		assert.NotEqual(t, want, of(other, "m", "p", "a", "b"), what)
	}
	assert.NotEqual(t, want, of(compiled, "m2", "p", "a", "b"))
	assert.NotEqual(t, want, of(compiled, "m", "p2", "a", "b"))
	assert.NotEqual(t, want, of(compiled, "m", "p", "a"))
	assert.Equal(t, of(compiled, "m", "p"), of(compiled, "m", "p", []string{}...))
}

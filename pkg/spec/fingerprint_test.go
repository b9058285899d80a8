package spec

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFingerprint(t *testing.T) {
	t.Parallel()
	of := func(p Plan, model, prompt string, tools ...string) string {
		q, err := p.Question(model, tools)
		require.NoError(t, err)
		f := q.Fingerprint(prompt)
		assert.Len(t, f, FingerprintLength)
		return f
	}
	zero, half := 0.0, 0.5
	plan := Plan{System: "s", Schema: []byte(`{}`), Sampling: Sampling{Temperature: &zero, MaxTokens: 10}, MaxTurns: 3}
	want := of(plan, "m", "p", "a", "b")
	assert.Equal(t, "Q2LoA0ZULpD3haukUk9WtQ", want, "the fingerprint of earlier versions")
	same := plan
	same.Sampling.MaxTokens, same.MaxTurns, same.Name, same.Task = 20, 4, "n", "t"
	assert.Equal(t, want, of(same, "m", "p", "a", "b"))
	same.KeepReasoning = KeepAuto
	assert.Equal(t, want, of(same, "m", "p", "a", "b"))
	for what, change := range map[string]func(*Plan){
		"system": func(p *Plan) { p.System = "s2" }, "schema": func(p *Plan) { p.Schema = nil },
		"temperature": func(p *Plan) { p.Sampling.Temperature = &half }, "stop": func(p *Plan) { p.Sampling.Stop = []string{"x"} },
		"always": func(p *Plan) { p.KeepReasoning = KeepAlways }, "never": func(p *Plan) { p.KeepReasoning = KeepNever },
	} {
		other := plan
		change(&other)
		assert.NotEqual(t, want, of(other, "m", "p", "a", "b"), what)
	}
	assert.NotEqual(t, want, of(plan, "m2", "p", "a", "b"))
	assert.NotEqual(t, want, of(plan, "m", "p2", "a", "b"))
	assert.NotEqual(t, want, of(plan, "m", "p", "a"))
	assert.Equal(t, of(plan, "m", "p"), of(plan, "m", "p", []string{}...))
}

package spec

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNumbersHaveNoLeadingZeros(t *testing.T) {
	t.Parallel()
	for yaml, want := range map[string]string{
		"max_turns: 010":               "batch.yaml:3: field max_turns: must be a whole number, not 010",
		"max_turns: 1_0":               "batch.yaml:3: field max_turns: must be a whole number, not 1_0",
		"max_turns: 1.5":               "batch.yaml:3: field max_turns: must be a whole number of at most 1000",
		"sampling: {temperature: 00}":  "batch.yaml:3: field sampling.temperature: must be a number, not 00",
		"sampling: {temperature: .5x}": `batch.yaml:3: field sampling.temperature: must be a number, not ".5x"`,
	} {
		_, err := load(t, least+yaml+"\n", nil, LoadOptions{})
		assert.EqualError(t, err, want)
	}
	s, err := load(t, least+"max_turns: 0xF\nsampling: {temperature: .5, seed: 0o17}\n", nil, LoadOptions{})
	require.NoError(t, err)
	assert.Equal(t, 15, s.settings.MaxTurns)
	assert.InDelta(t, 0.5, *s.settings.Sampling.Temperature, 0)
	assert.Equal(t, int64(15), *s.settings.Sampling.Seed)
}

func TestDigitsWithLeadingZerosReachThePrompt(t *testing.T) {
	t.Parallel()
	p, err := compile(t, "task: \"{zip}\"\ninputs: [{zip: 02142}, {zip: 09999}]\n", nil, LoadOptions{})
	require.NoError(t, err)
	assert.Equal(t, []string{`{"in":{"zip":"02142"}}`, `{"in":{"zip":"09999"}}`}, payloads(t, p))
}

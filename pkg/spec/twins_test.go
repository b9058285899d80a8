package spec

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const someTwins = `{"q":"a","id":1}
{"q":"b","id":2}
{"q":"a","id":3}
{"q":"c","id":4}
{"q":"a","id":5}
`

func TestTwinsAreMarked(t *testing.T) {
	for _, identical := range []string{"", "identical: each\n", "identical: once\n"} {
		p, err := compile(t, "inputs: in.jsonl\ntask: \"Answer {q}\"\n"+identical, map[string]string{"in.jsonl": someTwins}, LoadOptions{})
		require.NoError(t, err)
		assert.EqualValues(t, 2, p.Copies, "the others have the prompt of job 0")
		marked := []string{`{"in":{"q":"a"},"twin":true}`, `{"in":{"q":"b"}}`, `{"in":{"q":"a"},"twin":true}`, `{"in":{"q":"c"}}`, `{"in":{"q":"a"},"twin":true}`}
		if identical != "identical: once\n" {
			assert.Empty(t, p.Jobs.Identical)
			for i := range marked {
				marked[i] = strings.ReplaceAll(marked[i], `,"twin":true`, "")
			}
		}
		assert.Equal(t, marked, payloads(t, p), identical)
	}
}

func TestFieldsThatNoPromptUsesMakeNoDifference(t *testing.T) {
	p, err := compile(t, "inputs: in.jsonl\ntask: \"{q}\"\npreload: [{tool: t, args: {n: \"{id}\"}}]\n", map[string]string{"in.jsonl": someTwins}, LoadOptions{})
	require.NoError(t, err)
	assert.Zero(t, p.Copies, "the preloaded calls differ")
}

func TestEqualPromptsOfOtherValuesAreNoTwins(t *testing.T) {
	inputs := `{"a":"x","b":"yz"}` + "\n" + `{"a":"xy","b":"z"}` + "\n" + `{"a":"yz","b":"x"}` + "\n"
	p, err := compile(t, "inputs: in.jsonl\ntask: \"{a}{b}\"\n", map[string]string{"in.jsonl": inputs}, LoadOptions{})
	require.NoError(t, err)
	assert.Zero(t, p.Copies)
}

func TestTwinsAreBounded(t *testing.T) {
	twins := newTwins()
	twins.most = 3
	for i := range 4 {
		twins.add(uint64(i))
	}
	twins.finish()
	assert.True(t, twins.has(7), "with too many inputs every job counts as a twin")
	assert.Nil(t, twins.hashes)
}

func TestIdenticalMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"identical: twice\n": "identical: must be each or once",
		"identical: once\ntools: [{name: send, share: effect}]\n":       "the tool send has share: effect",
		"identical: once\ntools: [{name: look, share: inflight}]\n":     "the tool look has share: inflight",
		"identical: once\ntools: [{name: look, share: ttl, ttl: 1h}]\n": "",
		"identical: each\ntools: [{name: send, share: effect}]\n":       "",
	} {
		_, err := load(t, "inputs: in.jsonl\ntask: \"{q}\"\n"+text, map[string]string{"in.jsonl": someTwins}, LoadOptions{})
		if want == "" {
			require.NoError(t, err, text)
			continue
		}
		require.ErrorContains(t, err, want, text)
	}
}

func TestTwinSurvivesTheRoundTripOfAPayload(t *testing.T) {
	text, err := Payload{Input: map[string]any{"x": "y"}, Twin: true}.encode()
	require.NoError(t, err)
	var read Payload
	require.NoError(t, json.Unmarshal(text, &read))
	assert.True(t, read.Twin, fmt.Sprint(string(text)))
}

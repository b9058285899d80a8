package spec

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// wideSpecs returns a spec as JSON and as YAML whose schema has n properties.
func wideSpecs(n int) []string {
	var object, block strings.Builder
	for i := range n {
		fmt.Fprintf(&object, `,"p%d":{"type":"string"}`, i)
		fmt.Fprintf(&block, "    p%d: {type: string}\n", i)
	}
	return []string{
		`{"name":"x","task":"Say {id}","inputs":[{"id":"a"}],"output_schema":{"type":"object","properties":{` + object.String()[1:] + `}}}`,
		"name: x\ntask: Say {id}\ninputs:\n  - {id: a}\noutput_schema:\n  type: object\n  properties:\n" + block.String(),
	}
}

func TestSpecWithManyPropertiesIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	for _, text := range wideSpecs(100_000) {
		began := time.Now()
		_, err := Parse("big", []byte(text), LoadOptions{})
		require.ErrorContains(t, err, "at most 20000 are allowed")
		assert.Less(t, time.Since(began), 5*time.Second)
	}
	for _, text := range wideSpecs(300) {
		_, err := Parse("small", []byte(text), LoadOptions{})
		require.NoError(t, err)
	}
}

func TestTooManyKeysCountsOneMapping(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("- a: 1\n  b: 2\n", maxKeys)
	assert.Zero(t, tooManyKeys([]byte("inputs:\n"+many)))
	assert.Zero(t, tooManyKeys([]byte(`{"inputs":[`+strings.Repeat(`{"a":":::"},`, maxKeys)+`{}]}`)))
	assert.Zero(t, tooManyKeys([]byte(`{"a":"`+strings.Repeat(":", 3*maxKeys)+`"}`)))
}

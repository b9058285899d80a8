package spec

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// wideSpecs returns a spec with a schema of n properties, as JSON and as YAML.
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

func TestSpecWithManyPropertiesIsRefusedQuickly(t *testing.T) {
	t.Parallel()
	for _, text := range wideSpecs(100_000) {
		began := time.Now()
		_, err := Parse("big", []byte(text), LoadOptions{})
		require.ErrorContains(t, err, "at most 20000 are allowed")
		assert.Less(t, time.Since(began), 20*time.Second)
	}
	for _, text := range wideSpecs(300) {
		_, err := Parse("small", []byte(text), LoadOptions{})
		require.NoError(t, err)
	}
}

// The YAML parser would take minutes for each of them.
func TestWideFilesAreRefusedQuickly(t *testing.T) {
	t.Parallel()
	for name, line := range map[string]string{
		"question marks":   "  ? p%d\n  : 1\n",
		"sets":             "  ? p%d\n",
		"colons in quotes": "  'a:%d': 1\n",
		"colons in keys":   "  a:%d: 1\n",
		"dashes":           "  -p%d: 1\n",
		"long keys":        "  " + strings.Repeat("k", 30) + "%d: 1\n",
		"tabs":             "  p%d:\t1\n",
	} {
		var text strings.Builder
		text.WriteString("inputs:\n")
		for i := range 100_000 {
			fmt.Fprintf(&text, line, i)
		}
		began := time.Now()
		_, err := Parse(name, []byte(text.String()), LoadOptions{})
		require.ErrorContains(t, err, "one mapping has more than 20000 keys", name)
		assert.Less(t, time.Since(began), 20*time.Second, name)
	}
	_, err := Parse("documents", []byte(strings.Repeat("---\na: 1\n", 10_000)), LoadOptions{})
	require.ErrorContains(t, err, "the file holds more than 100 YAML documents; a spec is one")
}

// The memory grows with the length of a prompt and not with its square. Parallel tests wait meanwhile.
func TestLongPromptsTakeLinearMemory(t *testing.T) {
	for name, task := range map[string]string{"escapes": "{{x}} ", "spaces": "{ a b } "} {
		text := strings.Repeat(task, 10_000)
		r := testing.Benchmark(func(b *testing.B) {
			for range b.N {
				ParseTemplate(text)
				parseWording(text).template(false, func(string) (string, bool) { return "", false })
			}
		})
		assert.Less(t, r.AllocedBytesPerOp(), int64(250_000_000), name)
	}
}

func TestRenderedPromptsAreBounded(t *testing.T) {
	t.Parallel()
	_, err := prompts(t, spell(t, map[string]any{"task": strings.Repeat("{x}", 1_000), "inputs": []any{map[string]any{"x": strings.Repeat("long", 20_000)}}}), nil)
	require.ErrorContains(t, err, "the prompt has more than 64 MiB; use long fields less often")
}

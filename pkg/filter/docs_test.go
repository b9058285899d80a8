package filter

import (
	"encoding/json"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
)

var example = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")

// TestDocumentedConditions checks that each condition in the documentation selects one of these results.
func TestDocumentedConditions(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/iterate.md")
	require.NoError(t, err)
	ok := batch.Result{
		Status: batch.OK, Turns: 6, Input: json.RawMessage(`{"amount":"1200","region":"US"}`),
		Output: json.RawMessage(`{"confidence":0.4,"topic":"billing","tags":["urgent"],"items":[{"price":120}]}`),
	}
	refund := ok
	refund.Output = json.RawMessage(`{"topic":"Refund"}`)
	failed := batch.Result{Status: batch.StatusFailed, Error: &batch.Error{Type: batch.OutputInvalid, Message: "timed out"}}
	found := example.FindAllStringSubmatch(string(text), -1)
	require.GreaterOrEqual(t, len(found), 10)
	for _, m := range found {
		f, err := Parse(m[1], Options{Changed: true})
		require.NoError(t, err)
		some := false
		for _, r := range []batch.Result{ok, refund, failed} {
			met, err := f.Matches(r, false)
			require.NoError(t, err)
			some = some || met
		}
		assert.True(t, some, m[1])
	}
}

package sim

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestUncredited compares pairs of texts that differ only in their credits, in several notations and lengths.
func TestUncredited(t *testing.T) {
	long := strings.Repeat("x", 200)
	for name, pair := range map[string][2]any{
		"counter":         {[]any{"asked", "3", "executed", "1", "fed", "20"}, []any{"asked", "3", "executed", "2", "fed", "20"}},
		"missing counter": {[]any{"asked", "3", "executed", "1", "fed", "20"}, []any{"asked", "3", "fed", "20"}},
		"counter of another length": {
			[]any{[]any{"asked", "30", "executed", "9", "header", long}, int64(4)},
			[]any{[]any{"asked", "30", "executed", "10", "header", long}, int64(4)},
		},
		"result": {
			`{"tools":{"asked":2,"executed":1},"wall_ms":7,"times_ms":{"slot":3,"tools":4}}`,
			`{"tools":{"asked":2,"executed":0},"wall_ms":7,"times_ms":{"slot":3,"tools_shared":4}}`,
		},
		"result without times": {
			`{"tools":{"asked":2,"executed":1},"wall_ms":7,"times_ms":{"tools":1}}`,
			`{"tools":{"asked":2,"executed":0},"wall_ms":7}`,
		},
		"journal": {`{"counts":{"asked":2,"executed":1}}`, `{"counts":{"asked":2,"executed":12}}`},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, short(pair[0]), short(pair[1]))
		})
	}
	assert.NotEqual(t, short([]any{"asked", "3", "executed", "1"}), short([]any{"asked", "4", "executed", "1"}), "other counters are compared")
}

// TestUncreditedRequest checks that a finish request loses its credits and nothing else.
func TestUncreditedRequest(t *testing.T) {
	finish := func(executed, part, line string) []string {
		args := `{"index":[0],"entry":["1-0"],"fence":["1|1|w"],"status":["ok"],"journal":["drop"],"sums":["` + part +
			`"],"totals":[1,0,0,3,300,120,111,140,4,` + executed + `,0]}`
		return slices.Concat([]string{"evalsha", "sum", "11"}, slices.Repeat([]string{"k"}, 11), []string{args, line})
	}
	one := finish("4", "3 300 120 111 140 4 4 0", `{"tools":{"asked":4,"executed":4}}`)
	assert.Equal(t, uncreditedRequest(one), uncreditedRequest(finish("0", "3 300 120 111 140 4 0 0", `{"tools":{"asked":4,"executed":0}}`)))
	assert.NotEqual(t, uncreditedRequest(one), uncreditedRequest(finish("4", "3 300 120 112 140 4 4 0", `{"tools":{"asked":4,"executed":4}}`)))
}

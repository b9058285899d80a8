package diagnose

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
)

func TestExplainRecommendsPreload(t *testing.T) {
	t.Parallel()
	call := func(args string) *batch.FirstCall {
		return &batch.FirstCall{Tool: "read_file", Args: json.RawMessage(args)}
	}
	for name, c := range map[string]struct {
		equal, other, none, late int
		want                     bool
	}{
		"most":          {60, 20, 20, 0, true},
		"half":          {50, 25, 25, 0, false},
		"few jobs":      {9, 0, 0, 0, false},
		"no calls":      {0, 0, 100, 0, false},
		"later inputs":  {60, 20, 20, 500, true},
		"only one tool": {100, 0, 0, 0, true},
	} {
		a, index := newAnatomy(), int64(0)
		add := func(n int, f *batch.FirstCall) {
			for range n {
				a.add(batch.Result{Index: index, Turns: 2, FirstCall: f})
				index++
			}
		}
		add(c.equal, call(`{"path":"{path}"}`))
		add(c.other, call(`{"path":"{title}"}`))
		add(c.none, nil)
		index = batch.FirstCalls
		add(c.late, nil)
		e := a.explanation("b_1", time.Second)
		require.Equal(t, c.want, e.Preload != nil, name)
		if c.want {
			assert.EqualValues(t, c.equal, e.Preload.Jobs, name)
			assert.EqualValues(t, c.equal+c.other+c.none, e.Preload.Of, name)
		}
	}
}

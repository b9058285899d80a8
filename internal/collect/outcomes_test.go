package collect

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/outage"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// restless is a source with a server that is restarted repeatedly.
type restless struct {
	held
	restarts *int
}

func (r restless) Timeline(context.Context, batch.ID) (string, error) {
	return fmt.Sprint(*r.restarts), nil
}

// After a restart of Redis all results are read again. A sink gets no result twice, with or without output. It does get
// another result of the same job.
func TestRestartDeliversNoResultTwice(t *testing.T) {
	results, lines := someResults(t, 4)
	source := restless{restarts: new(int)}
	for i, r := range results {
		source.entries = append(source.entries, statestore.Entry{Cursor: int64(i + 1), Index: r.Index, Status: r.Status, Line: lines[i]})
	}
	var out bytes.Buffer
	var given []string
	call := &Callback{Call: func(r batch.Result) error {
		given = append(given, fmt.Sprintf("%d %s", r.Index, r.Status))
		return nil
	}}
	for name, to := range map[string]Sink{"a function": call, "standard output": &Stream{W: &out, Format: JSONL{}}} {
		c := &Collector{Store: source, ID: testBatch, Sink: to, Wait: outage.Wait{Store: source}}
		for range 3 {
			require.NoError(t, c.Drain(t.Context()), name)
			*source.restarts++
		}
		retried, line := resultOf(t, 2, "")
		source.entries[2] = statestore.Entry{Cursor: 3, Index: 2, Status: retried.Status, Line: line}
		require.NoError(t, c.Drain(t.Context()), name)
		source.entries[2] = statestore.Entry{Cursor: 3, Index: 2, Status: results[2].Status, Line: lines[2]}
	}
	assert.Equal(t, []string{"0 ok", "1 ok", "2 failed", "3 ok", "2 ok"}, given)
	assert.Equal(t, 5, bytes.Count(out.Bytes(), []byte("\n")))
}

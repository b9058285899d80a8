package operation

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// A command on a batch also reaches its stages if Redis does not answer at first.
func TestCancelAndRemoveReachStagesAfterOutage(t *testing.T) {
	t.Parallel()
	url, redis := testredis.Mini(t)
	s, err := statestore.Open(t.Context(), url, statestore.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	id := statestore.NewID(time.Now())
	compiled := &spec.Compiled{Name: "b", Task: "{x}", MaxAttempts: 1, TTL: time.Hour}
	require.NoError(t, Create(t.Context(), s, id, Content{Compiled: compiled, Reduce: compiled}))

	away := 0
	c := On(s, func(n notice.Notice) {
		if n.Code == notice.Outage && strings.Contains(n.Text, "does not answer") {
			away++
			assert.NoError(t, redis.Restart())
		}
	})
	redis.Close()
	out, err := c.Cancel(t.Context(), id)
	require.NoError(t, err)
	assert.Equal(t, id.ForStage(batch.StageReduce), out.Stages[0].Batch)
	phase, err := s.Phase(t.Context(), id.ForStage(batch.StageReduce))
	require.NoError(t, err)
	assert.Equal(t, batch.Done, phase)

	redis.Close()
	removed, err := c.Remove(t.Context(), id)
	require.NoError(t, err)
	assert.Equal(t, []batch.ID{id.ForStage(batch.StageReduce), id}, removed)
	_, err = s.Phase(t.Context(), id.ForStage(batch.StageReduce))
	require.ErrorIs(t, err, statestore.ErrNotFound)
	assert.Equal(t, 2, away)
}

// A batch can be cancelled even if its spec is of another version and cannot be read.
func TestCancelOfAnUnreadableSpec(t *testing.T) {
	t.Parallel()
	url, _ := testredis.Mini(t)
	s, err := statestore.Open(t.Context(), url, statestore.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	id := statestore.NewID(time.Now())
	require.NoError(t, s.Create(t.Context(), batch.Header{ID: id, Name: "b", MaxAttempts: 1, TTL: time.Hour}, []byte("of another version")))
	_, err = s.Feed(t.Context(), id, 0, [][]byte{[]byte(`{"in":{"x":"a"},"id":"A-1","row":"ABCDEFGHIJKLMNOPQRSTUV"}`)})
	require.NoError(t, err)
	_, err = s.Seal(t.Context(), id, 1)
	require.NoError(t, err)

	out, err := On(s, nil).Cancel(t.Context(), id)
	require.NoError(t, err)
	assert.EqualValues(t, 1, out.Jobs)
	results, err := s.Results(t.Context(), id, 0, 1)
	require.NoError(t, err)
	assert.Contains(t, string(results[0].Line), `"row":"ABCDEFGHIJKLMNOPQRSTUV"`, "a rerun recognises the row")
	phase, err := s.Phase(t.Context(), id)
	require.NoError(t, err)
	assert.Equal(t, batch.Done, phase)
}

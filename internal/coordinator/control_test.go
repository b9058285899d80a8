package coordinator

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// onWrite is called with each write.
type onWrite func(string)

func (f onWrite) Write(p []byte) (int, error) {
	f(string(p))
	return len(p), nil
}

// A command on a batch also reaches its stages if Redis does not answer at first.
func TestCancelAndRemoveReachStagesAfterOutage(t *testing.T) {
	t.Parallel()
	url, redis := testredis.Mini(t)
	s, err := statestore.Open(t.Context(), url, statestore.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	id := statestore.NewID(time.Now())
	compiled := &spec.Compiled{Name: "b", Task: "{x}", MaxAttempts: 1, TTL: time.Hour}
	require.NoError(t, create(t.Context(), s, id, consignment{compiled: compiled, reduce: compiled}))

	away := 0
	back := NewConsole(onWrite(func(string) {}), onWrite(func(said string) {
		if strings.Contains(said, "does not answer") {
			away++
			assert.NoError(t, redis.Restart())
		}
	}))
	redis.Close()
	require.NoError(t, Cancel(t.Context(), s, id, back))
	phase, err := s.Phase(t.Context(), id.ForStage(batch.StageReduce))
	require.NoError(t, err)
	assert.Equal(t, batch.Done, phase)

	redis.Close()
	require.NoError(t, Remove(t.Context(), s, id, back))
	_, err = s.Phase(t.Context(), id.ForStage(batch.StageReduce))
	require.ErrorIs(t, err, statestore.ErrNotFound)
	assert.Equal(t, 2, away)
}

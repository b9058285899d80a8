package operation

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// overheard is a connection that passes each write to a function first.
type overheard struct {
	net.Conn
	hear func([]byte)
}

func (o overheard) Write(b []byte) (int, error) {
	o.hear(b)
	return o.Conn.Write(b)
}

// A failover between the calls that create a batch and its stages loses the last of them. In the end all of them must
// exist, because the others wait for each other.
func TestCreateRestoresForgottenStages(t *testing.T) {
	t.Parallel()
	const id batch.ID = "b_01jd0000000000000000000000"
	keys := func(stage string) []string {
		prefix := "ba:{" + string(id) + "}:" + stage
		return []string{prefix + "meta", prefix + "plan", prefix + "jobs"}
	}
	for name, c := range map[string]struct {
		sent      string // a key of the batch that is being made
		forgotten []string
	}{
		"the reducer before the batch is made":                 {keys("")[1], keys("reduce:")},
		"the batch before its planner is made":                 {keys("planner:")[1], keys("")},
		"the reducer and the batch before the planner is made": {keys("planner:")[1], append(keys("reduce:"), keys("")...)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dial, m := testredis.Pipe(t)
			var once sync.Once
			s, err := statestore.Open(t.Context(), testredis.PipeURL, statestore.Options{
				Dialer: func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := dial(ctx, network, address)
					return overheard{conn, func(b []byte) {
						if bytes.Contains(b, []byte(c.sent+"\r\n")) {
							once.Do(func() {
								for _, key := range c.forgotten {
									m.Del(key)
								}
							})
						}
					}}, err
				},
			})
			require.NoError(t, err)
			t.Cleanup(func() { _ = s.Close() })
			compiled := &spec.Compiled{Name: "n", MaxAttempts: 3, TTL: time.Hour}
			require.NoError(t, Create(t.Context(), s, id, Content{Compiled: compiled, Planner: compiled, Reduce: compiled}))
			for _, stage := range []batch.ID{id, id.ForStage(batch.StagePlan), id.ForStage(batch.StageReduce)} {
				info, err := s.Info(t.Context(), stage)
				require.NoError(t, err)
				assert.Equal(t, batch.Open, info.Phase)
			}
		})
	}
}

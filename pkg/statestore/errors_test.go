package statestore_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/statestore"
)

// TestScriptErrorsAreClassified: an error of a command within a script is classified like any other. Redis 6.2 puts the script's name
// and line in front of it.
func TestScriptErrorsAreClassified(t *testing.T) {
	t.Parallel()
	const behind = "ERR Error running script (call to f_34ecf547391636132e0e2a34ec01ccc57d396a5f): @user_script:132: @user_script: 132: -"
	for said, want := range map[string]error{
		"OOM command not allowed when used memory > 'maxmemory'.":                              statestore.ErrFull,
		"READONLY You can't write against a read only replica.":                                statestore.ErrUnknownOutcome,
		"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.":     statestore.ErrUnknownOutcome,
		"WRONGTYPE Operation against a key holding the wrong kind of value: the batch is lost": nil,
	} {
		for _, answer := range []string{said, behind + said} {
			s, err := server.NewServer("127.0.0.1:0")
			require.NoError(t, err)
			t.Cleanup(s.Close)
			for name, answers := range map[string]server.Cmd{
				"PING":    func(c *server.Peer, _ string, _ []string) { c.WriteInline("PONG") },
				"INFO":    func(c *server.Peer, _ string, _ []string) { c.WriteBulk("redis_version:6.2.5\r\n") },
				"EVALSHA": func(c *server.Peer, _ string, _ []string) { c.WriteError(answer) },
			} {
				require.NoError(t, s.Register(name, answers))
			}
			w := over(t, fmt.Sprintf("redis://127.0.0.1:%d", s.Addr().Port))
			_, err = w.store.Cancel(t.Context(), anotherID)
			require.Error(t, err)
			for _, kind := range []error{statestore.ErrFull, statestore.ErrUnknownOutcome} {
				assert.Equal(t, kind == want, errors.Is(err, kind), "%s: %v", answer, err)
			}
		}
	}
}

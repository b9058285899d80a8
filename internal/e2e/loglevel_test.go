package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
)

// TestLogLevelFollowsSignals raises and lowers the log level of a running worker and a running server.
func TestLogLevelFollowsSignals(t *testing.T) {
	redis := testredis.Server(t)
	bin := built(t)
	for name, args := range map[string][]string{
		"worker":      {"--backend", "vllm://" + bin.simulator(t), "--id", "node-1"},
		"coordinator": {"serve"},
	} {
		addr := freeAddress(t)
		p := bin.start(t, name, append(args, "--redis", redis.URL(), "--log-level", "error", "--listen", addr)...)
		untilOK(t, "http://"+addr+"/readyz")
		assert.NotContains(t, p.Log(), "level=INFO", name)
		for _, step := range []struct {
			signal os.Signal
			says   string
			times  int
		}{{syscall.SIGUSR1, "now=DEBUG by=", 1}, {syscall.SIGUSR2, "now=ERROR by=", 1}, {syscall.SIGUSR1, "now=DEBUG by=", 2}} {
			require.NoError(t, p.Signal(step.signal))
			require.Eventually(t, func() bool { return strings.Count(p.Log(), step.says) == step.times }, 20*time.Second, 10*time.Millisecond,
				"%s: %s", name, p.Log())
		}
		if name == "worker" {
			require.NoError(t, p.Signal(syscall.SIGTERM))
			<-p.Ended()
			assert.Contains(t, p.Log(), "level=INFO msg=draining", "a signal shows the hidden messages")
		}
	}
}

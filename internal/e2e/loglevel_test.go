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
		assert.NotContains(t, p.output(), "level=INFO", name)
		for _, step := range []struct {
			signal os.Signal
			says   string
			times  int
		}{{syscall.SIGUSR1, "now=DEBUG by=", 1}, {syscall.SIGUSR2, "now=ERROR by=", 1}, {syscall.SIGUSR1, "now=DEBUG by=", 2}} {
			p.signal(t, step.signal)
			require.Eventually(t, func() bool { return strings.Count(p.output(), step.says) == step.times }, 20*time.Second, 10*time.Millisecond,
				"%s: %s", name, p.output())
		}
		if name == "worker" {
			p.signal(t, syscall.SIGTERM)
			<-p.done
			assert.Contains(t, p.output(), "level=INFO msg=draining", "a signal shows the hidden messages")
		}
	}
}

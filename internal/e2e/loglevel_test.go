package e2e

import (
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
)

// TestTheLogLevelFollowsSignals asks a running worker and a running server for more of their logs, and for less.
func TestTheLogLevelFollowsSignals(t *testing.T) {
	redis := testredis.Server(t)
	bin := built(t)
	for name, c := range map[string]struct {
		args []string
		url  string // answers once the process runs
	}{
		"worker":      {[]string{"--backend", "vllm://" + bin.simulator(t), "--id", "node-1", "--listen"}, "/readyz"},
		"coordinator": {[]string{"serve", "--listen"}, "/readyz"},
	} {
		addr := freeAddress(t)
		var command []string
		if c.args[0] == "serve" {
			command = append(command, c.args[0])
			c.args = c.args[1:]
		}
		p := bin.start(t, name, append(append(append(command, "--redis", redis.URL(), "--log-level", "error"), c.args...), addr)...)
		require.Eventually(t, func() bool {
			resp, err := http.Get("http://" + addr + c.url)
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		}, 20*time.Second, 20*time.Millisecond, name)
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
			assert.Contains(t, p.output(), "level=INFO msg=draining", "what was hidden is told")
		}
	}
}

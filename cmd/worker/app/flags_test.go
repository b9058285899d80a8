package app

import (
	"testing"

	"github.com/batchagent/batchagent/internal/flagtest"
)

// A variable left over from another command must not make a worker calibrate and exit.
func TestDestructiveWorkerFlagsHaveNoVariable(t *testing.T) {
	t.Parallel()
	without := []string{"calibrate"}
	with := []string{
		"redis", "backend", "id", "tools-root", "tools", "max-inflight", "max-agents", "lease", "drain-timeout", "listen", "pprof", "log-level", "log-format",
	}
	flagtest.Variables(t, flags(), with, without)
}

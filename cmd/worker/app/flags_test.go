package app

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/urfave/cli/v2"
)

// A variable left over from another command must not make a worker calibrate and exit.
func TestDestructiveWorkerFlagsHaveNoVariable(t *testing.T) {
	t.Parallel()
	without := []string{"calibrate"}
	with := []string{
		"redis", "backend", "id", "tools-root", "tools", "max-inflight", "max-agents", "lease", "drain-timeout", "listen", "pprof", "log-level", "log-format",
	}
	for _, f := range flags() {
		name, vars := f.Names()[0], f.(cli.DocGenerationFlag).GetEnvVars()
		switch {
		case slices.Contains(without, name):
			assert.Empty(t, vars, name)
		case slices.Contains(with, name):
			assert.NotEmpty(t, vars, name)
		default:
			t.Errorf("--%s: decide whether a variable may set it, and add it to a list here", name)
		}
	}
}

package app

import (
	"testing"

	"github.com/batchagent/batchagent/internal/flagtest"
)

// No flag of the simulator destroys or redirects data. A new flag needs a decision.
func TestDestructiveSimulatorFlagsHaveNoVariable(t *testing.T) {
	t.Parallel()
	var without []string
	with := []string{
		"listen", "allow-remote", "model", "max-model-len", "api-key", "forward-ms", "token-ms", "profile", "time-scale", "scheduling-policy", "max-num-batched-tokens",
		"max-num-seqs", "max-num-queued-reqs", "kv-blocks", "stream-interval", "seed", "tool-turns", "fault-503-rate", "fault-500-rate",
		"fault-429-rate", "fault-cut-rate", "fault-hang-rate", "fault-slow-rate", "fault-slow-ms", "fault-malformed-rate", "fault-invalid-rate", "fault-every",
	}
	flagtest.Variables(t, flags(), with, without)
}

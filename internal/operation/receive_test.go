package operation

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/pkg/spec"
)

// A sent compiled spec must not set request fields that a spec cannot set.
func TestReceiveRefusesReservedRequestFields(t *testing.T) {
	t.Parallel()
	for mistake, extra := range map[string]map[string]json.RawMessage{
		"": {"top_k": json.RawMessage("20")},
		"sampling.extra_body.priority is set by batchagent": {"top_k": json.RawMessage("20"), "priority": json.RawMessage("-9")},
		"at most 16384 bytes":                               {"big": json.RawMessage(`"` + strings.Repeat("x", 20_000) + `"`)},
	} {
		plan, err := json.Marshal(spec.Compiled{Name: "p", Task: "{x}", MaxTurns: 1, MaxAttempts: 1, TTL: time.Hour, Sampling: spec.Sampling{ExtraBody: extra}})
		require.NoError(t, err)
		s, err := Receive(t.Context(), Sent{Plan: plan, Inputs: strings.NewReader(`{"in":{"x":"1"}}`)}, nil, nil)
		if mistake == "" {
			require.NoError(t, err)
			require.NoError(t, s.Close())
			continue
		}
		require.ErrorContains(t, err, mistake)
		require.True(t, fault.IsUsage(err))
	}
}

package sglang

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/backendtest"
)

// set returns recorded routes with some settings of the server changed. The recorded page has its defaults.
func set(t *testing.T, changes map[string]any) map[string]backendtest.Reply {
	t.Helper()
	all := routes(t, map[string]string{"POST /close_session": "base/close-session"})
	_, page, _ := bytes.Cut(all["GET /server_info"].Bytes, []byte("\r\n\r\n"))
	var settings map[string]any
	require.NoError(t, json.Unmarshal(page, &settings))
	for name, value := range changes {
		require.Contains(t, settings, name, "the real server has this setting")
		settings[name] = value
	}
	page, err := json.Marshal(settings)
	require.NoError(t, err)
	all["GET /server_info"] = backendtest.Reply{Bytes: append([]byte("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"), page...)}
	return all
}

func TestPriorityOfTheBatchAndThenOfOlderAgents(t *testing.T) {
	for name, c := range map[string]struct {
		changes map[string]any
		hints   backend.Hints
		want    float64
	}{
		"an unset priority sorts last, so 0 is sent": {nil, backend.Hints{}, 0},
		"higher is sooner":                           {nil, backend.Hints{Priority: 5}, 50},
		"negative":                                   {nil, backend.Hints{Priority: -2}, -20},
		"the second oldest agent":                    {nil, backend.Hints{Priority: 5, Rank: 1}, 49},
		"younger agents come later":                  {nil, backend.Hints{Priority: 5, Rank: 20}, 45},
		"calls of one batch never interrupt another": {nil, backend.Hints{Priority: 5, Rank: 5_000}, 41},
		"lower is sooner":                            {map[string]any{"schedule_low_priority_values_first": true}, backend.Hints{Priority: 5, Rank: 1}, -49},
		"no interrupts":                              {map[string]any{"disable_priority_preemption": true}, backend.Hints{Priority: 5, Rank: 20}, 4_980},
		"any difference interrupts":                  {map[string]any{"priority_scheduling_preemption_threshold": 1}, backend.Hints{Priority: 5, Rank: 20}, 5},
	} {
		server := backendtest.ReplayRoutes(t, set(t, c.changes))
		r := ask()
		r.Hints = c.hints
		_, err := open(t, server.Addr).Generate(t.Context(), r, backend.Observer{})
		require.NoError(t, err)
		assert.InDelta(t, c.want, sent(t, server, 0)["priority"], 0, name)
	}
}

func TestSessionsOfAServerThatKeepsThem(t *testing.T) {
	for _, keeps := range []bool{true, false} {
		server := backendtest.ReplayRoutes(t, set(t, map[string]any{"enable_session_radix_cache": keeps}))
		b := open(t, server.Addr)
		r := ask()
		r.Hints.Session = "b_1/job-3"
		for range 2 {
			_, err := b.Generate(t.Context(), r, backend.Observer{})
			require.NoError(t, err)
		}
		b.CloseSession(r.Hints.Session)
		require.NoError(t, b.Close())
		closed := server.Asked("POST /close_session")
		if !keeps {
			assert.NotContains(t, sent(t, server, 1), "session_id")
			assert.Empty(t, closed)
			continue
		}
		assert.Equal(t, "b_1/job-3", sent(t, server, 0)["session_id"])
		assert.Equal(t, "b_1/job-3", sent(t, server, 1)["session_id"])
		require.Len(t, closed, 1)
		assert.JSONEq(t, `{"session_id":"b_1/job-3"}`, string(closed[0].Content))
	}
}

// The end of a session is a favour: a server that refuses it changes nothing.
func TestSessionThatCannotBeClosed(t *testing.T) {
	all := set(t, map[string]any{"enable_session_radix_cache": true})
	delete(all, "POST /close_session")
	server := backendtest.ReplayRoutes(t, all)
	b := open(t, server.Addr)
	_, err := b.Generate(t.Context(), ask(), backend.Observer{})
	require.NoError(t, err)
	for range 1_000 {
		b.CloseSession("b_1/job-3")
	}
	_, err = b.Generate(t.Context(), ask(), backend.Observer{})
	require.NoError(t, err)
}

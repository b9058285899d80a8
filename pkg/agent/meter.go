package agent

import (
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
)

// meter records how an attempt's time is spent. It belongs to the attempt's goroutine.
type meter struct {
	held, slot, cold, cached, decode, tools, toolsShared, retry, journal, program time.Duration
}

// call adds a model call that ended with a finish reason.
func (m *meter) call(took time.Duration, r *backend.Response) {
	first := min(r.TTFT, took)
	if 2*r.Usage.CachedTokens >= r.Usage.PromptTokens && r.Usage.PromptTokens > 0 {
		m.cached += first
	} else {
		m.cold += first
	}
	m.decode += took - first
}

// add adds the time that another one recorded.
func (m *meter) add(o meter) {
	m.held += o.held
	m.slot += o.slot
	m.cold += o.cold
	m.cached += o.cached
	m.decode += o.decode
	m.tools += o.tools
	m.toolsShared += o.toolsShared
	m.retry += o.retry
	m.journal += o.journal
	m.program += o.program
}

// fit divides the time of parallel calls of a program among them: it shrinks the parts of calls in proportion, so that they and the
// program's own time take no longer than total.
func (m *meter) fit(total time.Duration) {
	parts := []*time.Duration{&m.held, &m.slot, &m.cold, &m.cached, &m.decode, &m.tools, &m.toolsShared, &m.retry, &m.journal}
	total -= m.program
	sum := time.Duration(0)
	for _, p := range parts {
		sum += *p
	}
	if sum <= total {
		return
	}
	for _, p := range parts {
		*p = time.Duration(float64(*p) / float64(sum) * float64(total))
	}
}

func (m *meter) times(queued time.Duration) batch.Times {
	return batch.Times{
		Queued: queued.Milliseconds(),
		Held:   m.held.Milliseconds(), Slot: m.slot.Milliseconds(),
		PrefillCold: m.cold.Milliseconds(), PrefillCached: m.cached.Milliseconds(), Decode: m.decode.Milliseconds(),
		Tools: m.tools.Milliseconds(), ToolsShared: m.toolsShared.Milliseconds(),
		Retry: m.retry.Milliseconds(), Journal: m.journal.Milliseconds(), Program: m.program.Milliseconds(),
	}
}

// since adds the time from began to now.
func since(began time.Time, to *time.Duration) { *to += time.Since(began) }

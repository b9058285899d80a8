package worker

import (
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
)

// advised returns the request with hints that follow from earlier calls of the batch's agents. p75 returns the duration that
// three quarters of a tool's calls stay below.
func (b *openBatch) advised(r *backend.Request, p75 func(tool string) time.Duration) *backend.Request {
	hinted := *r
	hinted.Hints.OutputTokens, hinted.Hints.BackIn = b.advisor.Advice(p75)
	if len(r.Tools) == 0 || r.ToolChoice == backend.ToolChoiceNone {
		hinted.Hints.BackIn = 0
	}
	return &hinted
}

package worker

import "github.com/batchagent/batchagent/pkg/backend"

// advised returns the request with hints that follow from earlier calls of the batch's agents.
func (b *openBatch) advised(r *backend.Request) *backend.Request {
	hinted := *r
	hinted.Hints.OutputTokens = b.advisor.Advice()
	return &hinted
}

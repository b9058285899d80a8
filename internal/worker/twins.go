package worker

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// AwaitTwin implements [agent.Twins]. Twins share the execution of one of them, like equal tool calls do. The session that may run keeps
// the lead until its result is committed, so that a twin never has the result of a job that has another one.
func (s *session) AwaitTwin(ctx context.Context, fingerprint string) (*spec.Reuse, error) {
	if s.alone {
		return nil, nil // its twins may have ended their workers
	}
	joined, err := s.tools.Join(ctx, toolpool.Key("job", string(s.lease.Job.Batch), fingerprint))
	switch {
	case err != nil:
		return nil, fmt.Errorf("wait for a job with the same prompt: %w", err)
	case joined.Lead != nil:
		s.lead.Store(&joined.Lead)
		return nil, nil
	case joined.Outcome.Failed:
		return nil, nil
	}
	var r spec.Reuse
	if err := json.Unmarshal([]byte(joined.Outcome.Content), &r); err != nil {
		s.log.Warn("the result of a job with the same prompt cannot be read; the job runs itself", "error", err)
		return nil, nil
	}
	return &r, nil
}

// passOn gives the committed result to the twins. A twin of a failed job runs itself.
func (s *session) passOn(r batch.Result, o statestore.FinishOutcome) {
	lead := s.lead.Swap(nil)
	if lead == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // Publish and Abandon need not wait for Redis
	if o != statestore.Committed {
		(*lead).Abandon(ctx)
		return
	}
	outcome := toolpool.Shared{Failed: true}
	if r.Status == batch.OK {
		content, err := json.Marshal(spec.Reuse{
			From: fmt.Sprintf("%s/%s", r.Batch, r.JobID), Output: r.Output, Model: r.Model, Fingerprint: r.Fingerprint, MaxTokens: r.MaxTokens, Simulated: r.Simulated,
		})
		if err == nil {
			outcome = toolpool.Shared{Content: string(content)}
		}
	}
	(*lead).Publish(ctx, outcome, !outcome.Failed)
}

// giveUp lets a twin run instead of this job, which ended without a result.
func (s *session) giveUp() { s.passOn(batch.Result{}, statestore.Fenced) }

package operation

import (
	"context"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/nearest"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/outage"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// Batches is a place that has batches: a [Cluster], or a server in front of one. Each method waits through outages of the
// place, unless its comment says otherwise.
type Batches interface {
	collect.Source
	// Find checks that a batch exists. If it is missing, the error names the nearest known ID.
	Find(ctx context.Context, id batch.ID) error
	// List returns the n newest batches with their states; 0 means all that the place shows. It does not wait.
	List(ctx context.Context, n int) ([]Listed, error)
	// Status returns a batch and the workers that can serve it. It does not wait.
	Status(ctx context.Context, id batch.ID) (StatusReport, error)
	// Workers returns the workers that are alive or were lost lately. It does not wait.
	Workers(ctx context.Context) ([]batch.WorkerRecord, error)

	// Submit submits a batch and returns its ID.
	Submit(ctx context.Context, s *Submission) (batch.ID, error)
	// Announced records that the user has the ID of a submission, so that the same spec creates another batch.
	Announced(ctx context.Context, s *Submission) error
	// Cancel gives every job without a result a cancelled one, and returns when all jobs have results.
	Cancel(ctx context.Context, id batch.ID) (Cancelled, error)
	// Retry queues the failed jobs of a batch again, or its planner if the planner failed.
	Retry(ctx context.Context, id batch.ID) (Retried, error)
	// SetBudget sets the budget of a batch and returns its new state. A zero field keeps the present value.
	SetBudget(ctx context.Context, id batch.ID, b batch.Budget) (batch.Info, error)
	// Resolve records the outcome of a parked call. job is job-<index> or the index.
	Resolve(ctx context.Context, id batch.ID, job string, r Resolution) (Resolved, error)
	// Remove deletes all data of a batch that is done. It returns the batch and its stages in the order of their removal.
	Remove(ctx context.Context, id batch.ID) ([]batch.ID, error)

	Close() error
}

// Cluster is the batches of one Redis. It reports outages and other notices of its operations to a function. It is safe
// for concurrent use.
type Cluster struct {
	*statestore.Store
	notify notice.Func
}

var _ Batches = (*Cluster)(nil)

// On returns the batches of a store. Closing the Cluster closes the store.
func On(s *statestore.Store, notify notice.Func) *Cluster { return &Cluster{s, notify} }

// wait returns a new wait for the store.
func (c *Cluster) wait() *outage.Wait { return &outage.Wait{Store: c.Store, Notify: c.notify} }

// Submit implements [Batches]. It checks the tools, and finds the results to reuse if the submission asks for them.
func (c *Cluster) Submit(ctx context.Context, s *Submission) (batch.ID, error) {
	for _, warning := range c.Warnings(ctx) {
		c.notify.Send(notice.Settings, "%s", warning)
	}
	if err := s.CheckTools(ctx, c.Store); err != nil {
		return "", err
	}
	if s.ReuseFrom != "" {
		if err := s.Reuse(ctx, s.ReuseFrom, c.Store); err != nil {
			return "", err
		}
	}
	if s.Rerun != (Rerun{}) {
		if err := s.KeepRows(ctx, s.Rerun, c.Store); err != nil {
			return "", err
		}
	}
	if s.Key != "" {
		_, err := s.SubmitOnce(ctx, c.Store, s.Key)
		return s.ID, err
	}
	err := s.Submit(ctx, c.Store)
	return s.ID, err
}

// Announced implements [Batches].
func (c *Cluster) Announced(ctx context.Context, s *Submission) error { return s.Announced(ctx) }

// Find implements [Batches].
func (c *Cluster) Find(ctx context.Context, id batch.ID) error { return nearest.Find(ctx, c.Store, id) }

// List implements [Batches].
func (c *Cluster) List(ctx context.Context, n int) ([]Listed, error) {
	return listBatches(ctx, c.Store, n)
}

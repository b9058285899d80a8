package operation

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/batchagent/batchagent/internal/earlier"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// Content is the content of a submission: the plans, and the jobs, which can be read repeatedly.
type Content struct {
	Compiled    *spec.Compiled
	Planner     *spec.Compiled // makes the jobs; nil if they are known
	Reduce      *spec.Compiled // reduces the results; nil without a reduction
	total       int64
	sorted      bool // the jobs are fed in another order than that of the inputs
	payloads    func(context.Context) iter.Seq2[[]byte, error]
	openings    func() []string        // of the prompts of some jobs, see [spec.Compiled.Opening]
	fingerprint func() (string, error) // equal for the same spec over the same inputs
	close       func() error
	rows        int64                                          // of the inputs; 0 if a planner makes the jobs
	chosen      func(index int64) bool                         // reports whether a row runs; nil is all rows
	all         func(context.Context) iter.Seq2[[]byte, error] // payloads of all rows
	prepared    *spec.Prepared                                 // nil if the spec was sent compiled
}

func contentOf(s *spec.Spec, p *spec.Prepared) Content {
	content := Content{
		Compiled: p.Jobs, Planner: p.Planner, Reduce: p.Reducer, total: p.Total, payloads: p.Payloads, openings: p.Openings, fingerprint: p.Fingerprint,
		close: s.Close, rows: p.Rows, all: p.AllPayloads, prepared: p,
	}
	if p.Total < p.Rows {
		content.chosen = p.Chosen
	}
	return content
}

// keep makes the jobs of rows that do not run again end with their earlier results.
func (c *Content) keep(kept *earlier.Rerun) {
	c.payloads = func(ctx context.Context) iter.Seq2[[]byte, error] { return kept.Payloads(ctx, c.all(ctx)) }
	before := c.fingerprint
	c.fingerprint = func() (string, error) {
		sum, err := before()
		return fmt.Sprintf("%x", sha256.Sum256([]byte(sum+"\n"+kept.Identity()))), err
	}
}

func headerOf(id batch.ID, c *spec.Compiled) batch.Header {
	return batch.Header{
		ID: id, Name: c.Name, Owner: c.Owner, Priority: c.Priority, Model: c.Model, AnyModel: c.AnyModel, Tools: c.Needs(),
		MaxAttempts: c.MaxAttempts, TTL: c.TTL, Budget: c.BatchBudget, Prices: c.Prices,
	}
}

// createTries limits the attempts to create a batch. Each failover loses a stage at most once.
const createTries = 5

// Create creates the reducer of a batch, the batch, and its planner, each if it exists. It starts over if a failover
// lost one of them meanwhile. It is idempotent.
func Create(ctx context.Context, s *statestore.Store, id batch.ID, c Content) (err error) {
	for range createTries {
		if err = createOnce(ctx, s, id, c); !errors.Is(err, statestore.ErrNotFound) {
			return err
		}
	}
	return err
}

func createOnce(ctx context.Context, s *statestore.Store, id batch.ID, c Content) error {
	header := headerOf(id, c.Compiled)
	header.Sorted = c.sorted
	header.Plan, header.Reduce = c.Planner != nil, c.Reduce != nil
	if c.Reduce != nil {
		c := *c.Reduce
		c.Reduces = id
		if err := createOne(ctx, s, headerOf(id.ForStage(batch.StageReduce), &c), &c); err != nil {
			return err
		}
	}
	if err := createOne(ctx, s, header, c.Compiled); err != nil || c.Planner == nil {
		return err
	}
	planner := *c.Planner
	planner.Plans = id
	return createOne(ctx, s, headerOf(id.ForStage(batch.StagePlan), &planner), &planner)
}

func createOne(ctx context.Context, s *statestore.Store, h batch.Header, compiled *spec.Compiled) error {
	text, err := json.Marshal(compiled)
	if err != nil {
		return fmt.Errorf("encode the plan of batch %s: %w", h.ID, err)
	}
	return s.Create(ctx, h, text)
}

package earlier

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/filter"
	"github.com/batchagent/batchagent/pkg/spec"
)

// RerunOptions say which rows of an earlier batch run again in a new one.
type RerunOptions struct {
	From  string                 // the earlier batch: its ID, or a results file
	Where string                 // condition on the results whose rows run again
	Spec  string                 // display name of the new spec
	Runs  func(index int64) bool // reports whether a row was chosen to run; nil is all rows
	Total int64                  // number of chosen rows
}

// Rerun makes the jobs of a new batch of the rows of an earlier one. A row that runs again is a job as always. Another row with a
// result is a job that ends at once with this result. It uses about 80 bytes of memory per result.
type Rerun struct {
	past   past
	pairs  *Resumption
	places map[int64]int64 // by row: the position of the result that it keeps
	runs   func(index int64) bool
	total  int64
}

// ErrRerunPlan refuses to run rows again for a planned batch.
var ErrRerunPlan = fault.Usagef("rerun: a plan makes the inputs of this batch, so that they are not the rows of an earlier one; submit the batch without rerun")

// OpenRerun reads the results of an earlier batch and pairs them with the rows of payloads, as [Resumption.Pair] does. The caller closes
// the Rerun.
func OpenRerun(
	ctx context.Context, o RerunOptions, compiled *spec.Compiled, payloads iter.Seq2[[]byte, error], connect Connect, notify notice.Func,
) (_ *Rerun, err error) {
	where, err := filter.Parse(o.Where, filter.Options{Changed: true})
	if err != nil {
		return nil, fault.Usagef("rerun: %w", err)
	}
	if where.AsksChanged() && len(compiled.Needs()) > 0 {
		return nil, fault.Usagef("rerun: only the workers know the versions of the tools that this spec uses, so that changed cannot be decided here; " +
			"use a condition on the results, such as failed, or all")
	}
	r := &Rerun{places: map[int64]int64{}, runs: o.Runs}
	if r.past, err = openRerun(ctx, o.From, connect, notify); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	r.pairs = &Resumption{path: r.past.name(), spec: o.Spec, compiled: compiled, rows: newRowChoice(where, compiled), jobs: jobKeys{runs: o.Runs}, simulatedUnknown: true}
	if r.pairs.Asks, err = compiled.Asks(nil); err != nil {
		return nil, err
	}
	at := map[int64]int64{} // by index in the earlier batch
	each := func(f func(batch.Result) error) error {
		return r.past.Each(ctx, func(result batch.Result, from int64) error {
			at[result.Index] = from
			return f(result)
		})
	}
	err = r.pairs.pairWith(ctx, each, payloads)
	if errors.Is(err, collect.ErrNotResults) {
		err = fault.Usagef("rerun: %w", err)
	}
	if err != nil {
		return nil, err
	}
	r.total = o.Total
	for i, a := range r.pairs.answers {
		if to := r.pairs.pairing.to[i]; to >= 0 && !a.rerun {
			r.places[to] = at[a.index]
			if r.runs != nil && !r.runs(to) {
				r.total++
			}
		}
	}
	return r, nil
}

// openRerun opens the one batch or file whose rows run again.
func openRerun(ctx context.Context, from string, connect Connect, notify notice.Func) (past, error) {
	id, notID := batch.ParseID(from)
	switch {
	case from == ReuseOwner:
		return nil, fault.Usagef("rerun: %q names the batches of an owner, whose rows may differ; name one batch or a results file", from)
	case notID != nil:
		file, err := openFilePast(from, from)
		if err != nil {
			return nil, fault.Usagef("rerun: %w; name the ID of a batch or a results file", err)
		}
		return file, nil
	case connect == nil:
		return nil, fault.Usagef("rerun: the results of batch %s are in a cluster's Redis, which cannot be reached from here; name a results file", id)
	}
	p, err := openStorePast(ctx, connect, id, notify)
	if err == nil {
		_, err = p.ended(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("rerun: %w", err)
	}
	return p, nil
}

// Close closes the earlier results.
func (r *Rerun) Close() { r.past.Close() }

// Total returns the number of jobs: the rows that were chosen, and other rows with a result.
func (r *Rerun) Total() int64 { return r.total }

// Keeps reports whether a row keeps its earlier result.
func (r *Rerun) Keeps(row int64) bool {
	_, keeps := r.places[row]
	return keeps
}

// Summary describes the results that are kept and the rows that run.
func (r *Rerun) Summary() string { return r.pairs.Summary() }

// Identity names the earlier results, and which of them are kept for which rows. It is part of a submission's fingerprint: the earlier
// results may have changed when a submission is repeated.
func (r *Rerun) Identity() string {
	sum := sha256.New()
	for _, row := range slices.Sorted(maps.Keys(r.places)) {
		_, _ = fmt.Fprintf(sum, "%d %d\n", row, r.places[row])
	}
	return fmt.Sprintf("rerun %q %q %x", r.past.name(), r.pairs.rows.where, sum.Sum(nil))
}

// Payloads yields the jobs of the new batch. all are the payloads of all rows.
func (r *Rerun) Payloads(ctx context.Context, all iter.Seq2[[]byte, error]) iter.Seq2[[]byte, error] {
	type job struct {
		row     int64
		payload []byte
		at      int64 // of the result that the row keeps, or -1
	}
	return func(yield func([]byte, error) bool) {
		var page []job
		kept := 0
		flush := func() bool {
			places := make([]int64, 0, kept)
			for _, j := range page {
				if j.at >= 0 {
					places = append(places, j.at)
				}
			}
			var results []batch.Result
			var err error
			if kept > 0 {
				results, err = r.past.at(ctx, places)
			}
			for _, j := range page {
				if err == nil && j.at >= 0 {
					j.payload, err = r.ended(j.row, j.payload, results[0])
					results = results[1:]
				}
				if !yield(j.payload, err) || err != nil {
					return false
				}
			}
			page, kept = page[:0], 0
			return true
		}
		row := int64(-1)
		for payload, err := range all {
			if err != nil {
				yield(nil, err)
				return
			}
			row++
			at, keeps := r.places[row]
			if !keeps {
				at = -1
			}
			if !keeps && r.runs != nil && !r.runs(row) {
				continue
			}
			if page = append(page, job{row, payload, at}); keeps {
				kept++
			}
			if len(page) == pastAtOnce && !flush() {
				return
			}
		}
		flush()
	}
}

// errRetaken: a retry took a result back after it was read.
var errRetaken = errors.New("a result of it changed meanwhile; submit again")

// ended returns the payload of a job that ends at once with the result that its row keeps. The result has the ID and the fields of the
// row as they are now. It names the job that made it, and not the tokens and the time that this job took.
func (r *Rerun) ended(row int64, payload []byte, old batch.Result) ([]byte, error) {
	if err := r.pairs.Still(row, payload); err != nil {
		return nil, err
	}
	key, _ := r.pairs.rows.keyOf(old.ID, old.Row, old.Item)
	if old.JobID == "" || key != r.pairs.jobs.questions[row] {
		return nil, fault.Usagef("rerun: %s: %w", r.past.name(), errRetaken)
	}
	job, err := spec.DecodePayload(payload)
	if err != nil {
		return nil, fmt.Errorf("read a job: %w", err)
	}
	kept := old
	if kept.ReusedFrom == "" {
		kept.ReusedFrom = batch.Job{Batch: old.Batch, Index: old.Index}.String()
	}
	if kept.ID, kept.Input, err = r.pairs.compiled.Row(&job); err != nil {
		return nil, err
	}
	kept.Row, kept.FirstCall = job.Row, nil
	kept.Attempts, kept.Turns, kept.WallMS = 1, 0, 0
	kept.Usage, kept.Tools, kept.Times = batch.Usage{}, batch.ToolCounts{}, batch.Times{}
	return spec.EndedPayload(kept)
}

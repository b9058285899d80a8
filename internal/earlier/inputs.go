package earlier

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/filter"
	"github.com/batchagent/batchagent/pkg/plainjson"
	"github.com/batchagent/batchagent/pkg/spec"
)

// chain makes inputs from the results of another batch, in index order. It uses 16 bytes of memory per result.
type chain struct {
	from    spec.Earlier
	connect Connect
	notify  notice.Func

	positions []int64 // positions of the results, in index order; nil before find
}

// Inputs returns a function that reads results as inputs of a spec.
func Inputs(connect Connect, notify notice.Func) func(spec.Earlier) spec.Records {
	return func(from spec.Earlier) spec.Records {
		c := &chain{from: from, connect: connect, notify: notify}
		return c.records
	}
}

func (c *chain) records(ctx context.Context) iter.Seq2[spec.Record, error] {
	return func(yield func(spec.Record, error) bool) {
		p, err := c.open(ctx)
		if err != nil {
			yield(spec.Record{}, err)
			return
		}
		defer p.Close()
		if c.positions == nil {
			if err := c.find(ctx, p); err != nil {
				yield(spec.Record{}, err)
				return
			}
		}
		for places := range slices.Chunk(c.positions, pastAtOnce) {
			results, err := p.at(ctx, places)
			if err != nil {
				yield(spec.Record{}, err)
				return
			}
			for _, r := range results {
				rec, err := c.record(p, r)
				if !yield(rec, err) || err != nil {
					return
				}
			}
		}
	}
}

func (c *chain) open(ctx context.Context) (past, error) {
	if c.from.File != "" {
		return openFilePast(c.from.File, c.from.Shown)
	}
	if c.connect == nil {
		return nil, fault.Usagef("the results of batch %s are in a cluster's Redis, which cannot be reached from here; write its results to a file, and name it as inputs: {results: FILE}",
			c.from.Batch)
	}
	return openStorePast(ctx, c.connect, c.from.Batch, c.notify)
}

// find records the positions of the wanted results. It returns an error if the batch has not ended or results are
// missing, because the new batch would silently lack inputs.
func (c *chain) find(ctx context.Context, p past) error {
	var info batch.Info
	if s, ok := p.(*storePast); ok {
		var err error
		if info, err = s.ended(ctx); err != nil {
			return err
		}
	}
	type place struct{ index, at int64 }
	found, all, bare := []place{}, int64(0), int64(0)
	where, err := filter.Parse(c.from.Where, filter.Options{})
	if err != nil {
		return asUsage(err)
	}
	err = p.Each(ctx, func(r batch.Result, at int64) error {
		all++
		met, err := where.Matches(r, false)
		if met {
			found = append(found, place{r.Index, at})
			if r.Status != batch.OK && r.Input == nil && r.Item == nil {
				bare++
			}
		}
		return asUsage(err)
	})
	if err == nil {
		err = asUsage(where.Unseen())
	}
	if err != nil {
		return err
	}
	if info.Counts.Finished() > all {
		return fault.Usagef("%s of batch %s were removed from Redis when they were written to a file; write inputs: {results: FILE}, with that file",
			human.Plural(info.Counts.Finished()-all, "result", "results"), c.from.Batch)
	}
	if len(found) == 0 {
		return fault.Usagef("none of the %s of %s meets the condition %q", human.Plural(all, "result", "results"), p.name(), c.from.Where)
	}
	if bare > 0 {
		c.notify.Send(notice.SpecHint, "%s of %s without output do not repeat the fields of their inputs, so these inputs have job_id, index, status and error only; "+
			"write carry: all into the spec that makes the results", human.Plural(bare, "result", "results"), p.name())
	}
	slices.SortFunc(found, func(a, b place) int { return cmp.Compare(a.index, b.index) })
	c.positions = make([]int64, len(found))
	for i, f := range found {
		c.positions[i] = f.at
	}
	return nil
}

// record converts a result to an input.
func (c *chain) record(p past, r batch.Result) (spec.Record, error) {
	if r.JobID == "" {
		return spec.Record{}, fmt.Errorf("%s: %w", p.name(), spec.ErrInputsChanged)
	}
	fields := map[string]json.RawMessage{}
	output := batch.PlainJSON(r.Output)
	if len(output) > 0 && output[0] == '{' {
		if err := json.Unmarshal(output, &fields); err != nil {
			return spec.Record{}, fmt.Errorf("read the output of %s of %s: %w", r.JobID, p.name(), err)
		}
	}
	var faults []error
	set := func(name string, value any) {
		if _, taken := fields[name]; taken {
			return
		}
		text, err := plainjson.Marshal(value)
		faults = append(faults, err)
		fields[name] = text
	}
	set("job_id", r.JobID)
	set("index", r.Index)
	set("status", r.Status)
	set("error", r.Error)
	if r.Item != nil {
		set("item", json.RawMessage(batch.PlainJSON(r.Item)))
	}
	if len(output) == 0 {
		output = []byte("null")
	}
	set("output", json.RawMessage(output))
	if r.ID != "" {
		set("id", r.ID)
	}
	if r.Input != nil {
		carried := batch.PlainJSON(r.Input)
		set("input", json.RawMessage(carried))
		var members map[string]json.RawMessage
		faults = append(faults, json.Unmarshal(carried, &members))
		for name, value := range members {
			set(name, value)
		}
	}
	text, err := plainjson.Marshal(fields)
	if err := errors.Join(append(faults, err)...); err != nil {
		return spec.Record{}, fmt.Errorf("make an input of %s of %s: %w", r.JobID, p.name(), err)
	}
	return spec.Record{Where: p.name() + "/" + r.JobID, JSON: text}, nil
}

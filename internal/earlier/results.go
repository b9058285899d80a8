package earlier

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/nearest"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/outage"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// Connect opens Redis when it is first needed. It is nil if the command works without Redis.
type Connect func(context.Context) (*statestore.Store, error)

// past reads the results of an earlier batch, from Redis or from a file.
type past interface {
	// each calls f with every result and its position, once per index.
	Each(ctx context.Context, f func(r batch.Result, at int64) error) error
	// at reads results again, at most pastAtOnce. A result that was removed or replaced has no JobID.
	at(ctx context.Context, places []int64) ([]batch.Result, error)
	// name returns the display name.
	name() string
	Close()
}

const pastAtOnce = 500

// storePast reads results from Redis.
type storePast struct {
	store *statestore.Store
	id    batch.ID
	wait  outage.Wait
}

// openStorePast finds a batch. If it is missing, the error names the nearest known ID.
func openStorePast(ctx context.Context, connect Connect, id batch.ID, notify notice.Func) (*storePast, error) {
	s, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := nearest.Find(ctx, s, id); err != nil {
		return nil, err
	}
	return &storePast{s, id, outage.Wait{Store: s, Notify: notify}}, nil
}

func (p *storePast) name() string { return string(p.id) }
func (p *storePast) Close()       {} // the command owns the store

func (p *storePast) Each(ctx context.Context, f func(r batch.Result, at int64) error) error {
	after := int64(0)
	for {
		var entries []statestore.Entry
		err := p.wait.Do(ctx, func() (err error) {
			entries, err = p.store.Results(ctx, p.id, after, pastAtOnce)
			return err
		})
		if err != nil || len(entries) == 0 {
			return err
		}
		for _, e := range entries {
			r, err := collect.Decode(p.id, e)
			if err != nil {
				return err
			}
			if err := f(r, e.Cursor); err != nil {
				return err
			}
		}
		after = entries[len(entries)-1].Cursor
	}
}

func (p *storePast) at(ctx context.Context, places []int64) ([]batch.Result, error) {
	var entries []*statestore.Entry
	err := p.wait.Do(ctx, func() (err error) {
		entries, err = p.store.ResultsAt(ctx, p.id, places)
		return err
	})
	if err != nil {
		return nil, err
	}
	results := make([]batch.Result, len(entries))
	for i, e := range entries {
		if e == nil {
			continue
		}
		if results[i], err = collect.Decode(p.id, *e); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// ended returns an error unless the batch is done, so that all results can be read.
func (p *storePast) ended(ctx context.Context) (batch.Info, error) {
	var info batch.Info
	err := p.wait.Do(ctx, func() (err error) {
		info, err = p.store.Info(ctx, p.id)
		return err
	})
	if err == nil && info.Phase != batch.Done {
		err = &fault.UsageError{Err: &fault.UnfinishedError{Batch: p.id, Done: info.Counts.Finished(), Jobs: max(info.Counts.Total, info.Counts.Fed)}}
	}
	return info, err
}

// filePast reads results from a file of JSON lines.
type filePast struct {
	shown string
	file  *os.File
}

func openFilePast(path, shown string) (*filePast, error) {
	f, err := collect.OpenRecord(path)
	if err != nil {
		return nil, &fault.UsageError{Err: err}
	}
	return &filePast{shown, f}, nil
}

func (p *filePast) name() string { return p.shown }
func (p *filePast) Close()       { _ = p.file.Close() }

// Each reads the file twice, because the last record of a job counts.
func (p *filePast) Each(ctx context.Context, f func(r batch.Result, at int64) error) error {
	last := map[int64]int64{}
	err := p.Scan(ctx, func(r batch.Result, from int64) error {
		last[r.Index] = from
		return nil
	})
	if err != nil {
		return err
	}
	return p.Scan(ctx, func(r batch.Result, from int64) error {
		if last[r.Index] != from {
			return nil
		}
		return f(r, from)
	})
}

func (p *filePast) Scan(ctx context.Context, f func(r batch.Result, from int64) error) error {
	_, err := collect.JSONL{}.Scan(io.NewSectionReader(p.file, 0, math.MaxInt64), func(r batch.Result, from, _ int64) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return f(r, from)
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", p.shown, err)
	}
	return nil
}

func (p *filePast) at(_ context.Context, places []int64) ([]batch.Result, error) {
	out := make([]batch.Result, len(places))
	for i, from := range places {
		err := json.NewDecoder(io.NewSectionReader(p.file, from, math.MaxInt64-from)).Decode(&out[i])
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", p.shown, err)
		}
	}
	return out, nil
}

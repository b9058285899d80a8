package collect

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"runtime"
	"sync"
	"time"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/outage"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

const (
	collectAtOnce = 500         // results per read
	writeAtOnce   = 4 << 20     // bytes of results that are ready, after which they are written; a write waits for the disk
	decodeAtOnce  = 64          // results for which a further goroutine is worth its start
	collectWait   = time.Second // per wait for the next result; limits the delay of an interrupt
)

// Sink stores results.
type Sink interface {
	// Has reports whether this result is already stored.
	Has(r batch.Result) bool
	// Write stores results with their JSON, in order. Once it returns, they are safe.
	Write(results []batch.Result, lines [][]byte) error
}

// Stream is a sink that cannot be read back. A job that is retried after its failure was written has two lines; the
// later line counts. It uses the memory of its outcomes.
type Stream struct {
	W      io.Writer
	Format Format
	begun  bool
	outcomes
}

func (s *Stream) Write(results []batch.Result, lines [][]byte) error {
	var buf []byte
	if !s.begun {
		buf, s.begun = append(buf, s.Format.header()...), true
	}
	for i, r := range results {
		record, err := s.Format.record(r, lines[i])
		if err != nil {
			return err
		}
		buf = append(buf, record...)
	}
	if _, err := s.W.Write(buf); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	for _, r := range results {
		s.note(r)
	}
	return nil
}

// Source provides results: a store, or a server in front of it. Its methods are idempotent and behave like those of
// [statestore.Store].
type Source interface {
	outage.Store
	Info(ctx context.Context, id batch.ID) (batch.Info, error)
	Phase(ctx context.Context, id batch.ID) (batch.Phase, error)
	Results(ctx context.Context, id batch.ID, after int64, n int) ([]statestore.Entry, error)
	AwaitResults(ctx context.Context, id batch.ID, after int64, n int, wait time.Duration) ([]statestore.Entry, error)
	Result(ctx context.Context, id batch.ID, cursor int64) (*statestore.Entry, error)
	Timeline(ctx context.Context, id batch.ID) (string, error)
	TrimResults(ctx context.Context, id batch.ID, upTo int64, timeline string) error
}

// Collector copies the results of one batch from the store to a sink.
type Collector struct {
	Store    Source
	ID       batch.ID
	Sink     Sink
	order    *order // nil writes results in the order of their arrival
	Wait     outage.Wait
	after    int64  // cursor: all results up to here are in the sink or held by order
	timeline string // of the cursor; "" before the first step
	// written is called with the cursor up to which the sink is complete, and with its timeline. Nil is skipped. It
	// must be nil if order is set.
	Written func(ctx context.Context, upTo int64, timeline string) error
	Arrived func(batch.Result) // is called with every result that arrives; nil is skipped
}

// follow collects, through outages of Redis, until the batch is done and the sink is complete.
func (c *Collector) follow(ctx context.Context) error {
	for {
		// Read the phase before the results, so that no result of a finished batch is missed.
		phase, err := c.phase(ctx)
		if err != nil {
			return err
		}
		n, err := c.step(ctx, phase != batch.Done)
		if err != nil {
			return err
		}
		switch {
		case n == 0 && phase == batch.Done:
			return c.flush(ctx)
		case n == 0:
			if err := c.whilePaused(ctx); err != nil {
				return err
			}
		}
	}
}

// whilePaused returns a PausedError if no more results come until the batch's budget is raised.
func (c *Collector) whilePaused(ctx context.Context) error {
	var info batch.Info
	err := c.Wait.Do(ctx, func() (err error) {
		info, err = c.Store.Info(ctx, c.ID)
		return err
	})
	if err != nil || !info.Paused || info.Counts.Running > 0 || info.Counts.Waiting == 0 {
		return err
	}
	// First collect the results that arrived since the last read.
	entries, err := c.Store.Results(ctx, c.ID, c.after, 1)
	if err != nil || len(entries) > 0 {
		return nil
	}
	if err := c.flush(ctx); err != nil {
		return err
	}
	return &fault.PausedError{Info: info}
}

// Drain collects the results that exist and does not wait for more.
func (c *Collector) Drain(ctx context.Context) error {
	for {
		n, err := c.step(ctx, false)
		if err != nil {
			return err
		}
		if n == 0 {
			return c.flush(ctx)
		}
	}
}

func (c *Collector) phase(ctx context.Context) (phase batch.Phase, err error) {
	err = c.Wait.Do(ctx, func() error {
		phase, err = c.Store.Phase(ctx, c.ID)
		return err
	})
	return phase, err
}

// step reads once and writes the results. It returns their number. It returns 1 if the server's timeline changed,
// because all results must then be read again.
func (c *Collector) step(ctx context.Context, wait bool) (int, error) {
	if c.timeline == "" {
		if _, err := c.otherTimeline(ctx); err != nil {
			return 0, err
		}
	}
	entries, err := c.read(ctx, wait)
	if err != nil {
		return 0, err
	}
	// Check the timeline after reading: the entries belong to the previous timeline or to this one.
	if other, err := c.otherTimeline(ctx); err != nil || other {
		c.after = 0
		if c.order != nil {
			c.order.forget()
		}
		return 1, err
	}
	if len(entries) == 0 {
		return 0, nil
	}
	if err := c.take(ctx, entries); err != nil {
		return 0, err
	}
	c.after = entries[len(entries)-1].Cursor
	if c.Written != nil {
		err = c.Written(ctx, c.after, c.timeline)
	}
	return len(entries), err
}

// read returns the next results. It waits for one if wait is set. Results that are ready beyond those of one read are read, too.
func (c *Collector) read(ctx context.Context, wait bool) (entries []statestore.Entry, err error) {
	after, size := c.after, 0
	for {
		var more []statestore.Entry
		err := c.Wait.Do(ctx, func() (err error) {
			if wait {
				more, err = c.Store.AwaitResults(ctx, c.ID, after, collectAtOnce, collectWait)
			} else {
				more, err = c.Store.Results(ctx, c.ID, after, collectAtOnce)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		entries = append(entries, more...)
		for _, e := range more {
			size += len(e.Line)
		}
		if len(more) < collectAtOnce || size >= writeAtOnce {
			return entries, nil
		}
		after, wait = more[len(more)-1].Cursor, false
	}
}

// otherTimeline reports whether the server was restarted or replaced by its replica since the last call. The server may
// have lost results that were read, and have put others at their cursors.
func (c *Collector) otherTimeline(ctx context.Context) (bool, error) {
	before := c.timeline
	err := c.Wait.Do(ctx, func() (err error) {
		c.timeline, err = c.Store.Timeline(ctx, c.ID)
		return err
	})
	return c.timeline != before, err
}

// take decodes entries and writes the ones that the sink does not have, in index order if c.order is set.
func (c *Collector) take(ctx context.Context, entries []statestore.Entry) error {
	decoded, err := decodeAll(c.ID, entries)
	if err != nil {
		return err
	}
	var results []batch.Result
	var lines [][]byte
	for i, e := range entries {
		r := decoded[i]
		if c.Arrived != nil {
			c.Arrived(r)
		}
		switch {
		case c.Sink.Has(r):
		case c.order != nil && c.order.hold(e):
		default:
			results, lines = append(results, r), append(lines, e.Line)
		}
	}
	if len(results) > 0 {
		if err := c.Sink.Write(results, lines); err != nil {
			return err
		}
	}
	if c.order != nil {
		return c.release(ctx, c.order.due())
	}
	return nil
}

// flush writes the results that order still holds. The results before them will not arrive any more.
func (c *Collector) flush(ctx context.Context) error {
	if c.order == nil {
		return nil
	}
	return c.release(ctx, c.order.rest())
}

// release reads held results again and writes them.
func (c *Collector) release(ctx context.Context, held iter.Seq2[int64, int64]) error {
	var results []batch.Result
	var lines [][]byte
	write := func() error {
		if len(results) == 0 {
			return nil
		}
		err := c.Sink.Write(results, lines)
		results, lines = nil, nil
		return err
	}
	for index, cursor := range held {
		var e *statestore.Entry
		err := c.Wait.Do(ctx, func() (err error) {
			e, err = c.Store.Result(ctx, c.ID, cursor)
			return err
		})
		if err != nil {
			return err
		}
		if e == nil {
			c.order.lost(index)
			continue
		}
		r, err := Decode(c.ID, *e)
		if err != nil {
			return err
		}
		results, lines = append(results, r), append(lines, e.Line)
		c.order.written(index)
		if len(results) == collectAtOnce {
			if err := write(); err != nil {
				return err
			}
		}
	}
	return write()
}

// decodeAll decodes entries on all processors, because decoding takes most of the time in which a finished batch is read.
func decodeAll(id batch.ID, entries []statestore.Entry) ([]batch.Result, error) {
	out, errs := make([]batch.Result, len(entries)), make([]error, len(entries))
	size := max(len(entries)/runtime.GOMAXPROCS(0)+1, decodeAtOnce)
	var parts sync.WaitGroup
	for start := 0; start < len(entries); start += size {
		parts.Go(func() {
			for i := start; i < min(start+size, len(entries)); i++ {
				out[i], errs[i] = Decode(id, entries[i])
			}
		})
	}
	parts.Wait()
	return out, cmp.Or(errs...)
}

// Decode decodes an entry of batch id.
func Decode(id batch.ID, e statestore.Entry) (batch.Result, error) {
	var r batch.Result
	if err := json.Unmarshal(e.Line, &r); err != nil {
		return r, fmt.Errorf("decode result %d of batch %s: %w", e.Cursor, id, err)
	}
	return r, nil
}

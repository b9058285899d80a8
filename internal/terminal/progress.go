package terminal

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/internal/outage"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// watchEvery is the interval at which Watch checks whether the batch is done.
const watchEvery = time.Second

// newestReader reads the last results without the earlier ones.
type newestReader interface {
	NewestResults(ctx context.Context, id batch.ID, n int) ([]statestore.Entry, error)
}

// Watch shows the progress of a batch until the batch or ctx is done. It reads only the results that it shows.
func Watch(ctx context.Context, s collect.Source, id batch.ID, con *Console) error {
	wait := outage.Wait{Store: s, Notify: con.Notify}
	stop := showBatch(ctx, s, id, con)
	defer stop()
	latest, _ := s.(newestReader)
	var noted int64
	for {
		var info batch.Info
		err := wait.Do(ctx, func() (err error) {
			info, err = s.Info(ctx, id)
			return err
		})
		if err != nil {
			return err
		}
		if info.Phase == batch.Done {
			return nil
		}
		if latest != nil && con.live {
			if noted, err = noteNewest(ctx, latest, id, noted, con); err != nil && !statestore.Unreachable(err) {
				return err
			}
		}
		if err := sleep.For(ctx, watchEvery); err != nil {
			con.Say(fmt.Sprintf("interrupted: batch %s continues without this command", id))
			return err
		}
	}
}

// noteNewest passes the newest results after a cursor to the console, and returns the cursor of the last one.
func noteNewest(ctx context.Context, s newestReader, id batch.ID, after int64, con *Console) (int64, error) {
	entries, err := s.NewestResults(ctx, id, lastShown)
	for _, e := range entries {
		if e.Cursor <= after {
			continue
		}
		r, err := collect.Decode(id, e)
		if err != nil {
			return after, err
		}
		con.Note(r)
		after = e.Cursor
	}
	return after, err
}

// lookTimeout limits one read of the counts for the progress line.
const lookTimeout = 2 * time.Second

// showBatch shows progress until stop is called. stop waits until the display has ended.
func showBatch(ctx context.Context, s collect.Source, id batch.ID, con *Console) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var shown sync.WaitGroup
	workers, _ := s.(operation.WorkerLister)
	serving := &operation.WorkerCheck{Workers: workers, Notify: con.Notify}
	shown.Go(func() {
		con.showProgress(ctx, func(ctx context.Context) (operation.Progress, error) {
			ctx, cancel := context.WithTimeout(ctx, lookTimeout)
			defer cancel()
			info, err := s.Info(ctx, id)
			p := operation.ProgressOf(info)
			if err == nil {
				p.Pause = serving.Look(ctx, time.Now(), info)
			}
			return p, err
		})
	})
	return func() {
		cancel()
		shown.Wait()
	}
}

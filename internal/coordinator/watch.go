package coordinator

import (
	"context"
	"fmt"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// watchEvery is how often Watch looks whether the batch is done.
const watchEvery = time.Second

// newestReader gives the last results without those before them.
type newestReader interface {
	NewestResults(ctx context.Context, id batch.ID, n int) ([]statestore.Entry, error)
}

// Watch shows the progress of a batch until it is done, or ctx is. It reads no more results than it shows.
func Watch(ctx context.Context, s Source, id batch.ID, con *Console) error {
	patience := patience{store: s, say: con.Say}
	stop := watchStore(ctx, s, id, con)
	defer stop()
	latest, _ := s.(newestReader)
	var noted int64
	for {
		var info batch.Info
		err := patience.do(ctx, func() (err error) {
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
		if err := sleep(ctx, watchEvery); err != nil {
			con.Say(fmt.Sprintf("interrupted: batch %s goes on without us", id))
			return err
		}
	}
}

// noteNewest notes the last results that come after a cursor, and returns the cursor of the last one.
func noteNewest(ctx context.Context, s newestReader, id batch.ID, after int64, con *Console) (int64, error) {
	entries, err := s.NewestResults(ctx, id, lastShown)
	for _, e := range entries {
		if e.Cursor <= after {
			continue
		}
		r, err := decode(id, e)
		if err != nil {
			return after, err
		}
		con.Note(r)
		after = e.Cursor
	}
	return after, err
}

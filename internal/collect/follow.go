package collect

import (
	"context"

	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/outage"
	"github.com/batchagent/batchagent/pkg/batch"
)

// Callbacks get the results of a batch, each once, on the goroutine of the caller that passes them. All are required.
type Callbacks struct {
	Each func(batch.Result) error
	// Planned gets the planner's one result before any result of the batch, if there is a planner.
	Planned func(batch.Result) error
	// Reduced gets the reducer's one result after the results of the batch, if there is a reducer. It is called again if
	// failed jobs were retried meanwhile.
	Reduced func(batch.Result) error
}

// Follow calls to with all results of a batch, from the first one on, until the batch is done. It waits through outages. It
// returns the first error of to, or the cause of ctx.
func Follow(ctx context.Context, s Source, id batch.ID, notify notice.Func, to Callbacks) error {
	c := &Collector{Store: s, ID: id, Sink: &Callback{Call: to.Each}, Wait: outage.Wait{Store: s, Notify: notify}}
	info, err := c.info(ctx)
	if err != nil {
		return err
	}
	planned, reduced := IfStage(info.Plan, &Callback{Call: to.Planned}), IfStage(info.Reduce, &Callback{Call: to.Reduced})
	return c.FollowStages(ctx, planned, reduced)
}

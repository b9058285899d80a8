package coordinator

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

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
func Follow(ctx context.Context, s Source, id batch.ID, log *slog.Logger, to Callbacks) error {
	c := &collector{store: s, id: id, sink: &callback{call: to.Each}, patience: patience{store: s, say: func(line string) { log.Info(line) }}}
	info, err := c.info(ctx)
	if err != nil {
		return err
	}
	planned, reduced := ifStage(info.Plan, &callback{call: to.Planned}), ifStage(info.Reduce, &callback{call: to.Reduced})
	return c.followStages(ctx, planned, reduced)
}

// callback is a sink that calls a function with each result once.
type callback struct {
	call func(batch.Result) error
	outcomes
}

func (c *callback) Write(results []batch.Result, _ [][]byte) error {
	for _, r := range results {
		if err := c.call(r); err != nil {
			return fmt.Errorf("take %s: %w", r.JobID, err)
		}
		c.note(r)
	}
	return nil
}

// Logged returns a console that logs its lines.
func Logged(log *slog.Logger) *Console {
	return NewConsole(io.Discard, lines{func(line string) { log.Info(line) }})
}

// lines calls a function with each write, as one line.
type lines struct{ say func(string) }

func (l lines) Write(text []byte) (int, error) {
	l.say(strings.TrimSuffix(string(text), "\n"))
	return len(text), nil
}

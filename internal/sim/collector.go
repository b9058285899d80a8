package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/batchagent/batchagent/internal/collect"
	commandfault "github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/terminal"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// collector runs `coordinator results --follow --out FILE`. It runs the command again when it was killed and when the batch is
// reopened. It replaces the follower in runs in which Redis loses writes or results are reduced. Cursors are not reliable there;
// only the command guarantees one line per job and a last summary that matches the file.
type collector struct {
	world     *world
	path      string
	printed   bytes.Buffer            // standard output of all runs of the command: one summary per line
	committed map[int]map[string]bool // the lines of all results that were ever in Redis, by job
}

func newCollector(w *world) (*collector, error) {
	dir, err := os.MkdirTemp("", "sim")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the results: %w", err)
	}
	return &collector{world: w, path: filepath.Join(dir, "results.jsonl"), committed: make(map[int]map[string]bool)}, nil
}

func (c *collector) remove() error { return os.RemoveAll(filepath.Dir(c.path)) }

func (c *collector) run(ctx context.Context, p *process, drain <-chan struct{}) error {
	s, err := c.world.connect(ctx, p)
	if err != nil {
		return err
	}
	defer s.Close()
	var source collect.Source = s
	if m := c.world.cfg.Mutant; m != nil && m.Blind {
		source = blind{s}
	}
	con := terminal.NewConsole(&c.printed, io.Discard)
	for collected := []time.Time(nil); ; { // ends of the batches that are collected completely
		ends, open, err := c.ends(ctx, s)
		switch {
		case err == nil && ends != nil && slices.Equal(ends, collected):
			select {
			case <-drain:
				return nil
			default:
			}
		case err == nil:
			err = terminal.Results(ctx, source, batchID, terminal.ResultsOptions{Follow: true, Out: c.path}, con)
			if err == nil || errors.Is(err, commandfault.ErrJobsFailed) {
				collected, open, err = c.ends(ctx, s)
			} else if _, now, lookErr := c.ends(ctx, s); lookErr == nil {
				open = now
			}
		}
		// Redis may have lost the batch, or may not have it yet. It may also have lost jobs of an unsealed batch whose results
		// are already in the file.
		early := open || statestore.Unreachable(err) || errors.Is(err, statestore.ErrNotFound)
		if err != nil && !early && ctx.Err() == nil {
			return err
		}
		if err := sleep.For(ctx, time.Second); err != nil {
			return err
		}
	}
}

// ends returns the times at which the batches of the run ended, nil while one is running. open reports whether the first batch
// may get more jobs.
func (c *collector) ends(ctx context.Context, s *statestore.Store) (ends []time.Time, open bool, err error) {
	done := true
	for _, id := range c.world.cfg.batches() {
		info, err := s.Info(ctx, id)
		if err != nil {
			return nil, false, err
		}
		ends, done, open = append(ends, info.DoneAt), done && info.Phase == batch.Done, open || id == batchID && info.Phase == batch.Open
	}
	if !done {
		return nil, open, nil
	}
	return ends, open, nil
}

// blind hides restarts of Redis: it always returns the same timeline.
type blind struct{ *statestore.Store }

// Timeline implements [coordinator.Source].
func (blind) Timeline(context.Context, batch.ID) (string, error) { return "the only one", nil }

// executed records the results in Redis after each command.
func (c *collector) executed(st *state) {
	for _, r := range st.results {
		if c.committed[r.index] == nil {
			c.committed[r.index] = make(map[string]bool)
		}
		c.committed[r.index][r.line] = true
	}
}

// check compares the file with the final results in Redis. Each job must be in the file once. An output that Redis lost may stay
// in place of its successor; a failed result must have been replaced.
func (c *collector) check(k *checker, states []*state) {
	st := states[0]
	text, err := os.ReadFile(c.path)
	if err != nil {
		k.fail("sim", "%v", err)
		return
	}
	kept := make(map[int]string)
	for _, r := range st.results {
		kept[r.index] = r.line
	}
	seen := make(map[int]bool)
	for line := range bytes.Lines(text) {
		var r batch.Result
		if err := json.Unmarshal(line, &r); err != nil || line[len(line)-1] != '\n' {
			k.fail("I2", "a line of the results file is torn: %q", line)
			return
		}
		index, text := int(r.Index), string(bytes.TrimSuffix(line, []byte("\n")))
		switch {
		case seen[index]:
			k.fail("I2", "job %d is in the results file twice", index)
		case !c.committed[index][text]:
			k.fail("I2", "a result of job %d is in the results file but was never committed", index)
		case text != kept[index] && r.Status != batch.OK:
			k.fail("I2", "the results file has an obsolete failure of job %d; its result is %s", index, kept[index])
		}
		seen[index] = true
	}
	for index := range kept {
		if !seen[index] {
			k.fail("I2", "job %d is missing in the results file", index)
		}
	}
	for _, reduction := range states[1:] {
		lines := strings.Split(strings.TrimSpace(c.printed.String()), "\n")
		if last := lines[len(lines)-1]; len(reduction.results) > 0 && last != reduction.results[0].line {
			k.fail("I2", "the last summary that was printed is %s; it is %s", last, reduction.results[0].line)
		}
	}
}

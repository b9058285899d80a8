package collect

import (
	"fmt"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Callback is a sink that calls a function with each result once.
type Callback struct {
	Call func(batch.Result) error
	outcomes
}

func (c *Callback) Write(results []batch.Result, _ [][]byte) error {
	for _, r := range results {
		if err := c.Call(r); err != nil {
			return fmt.Errorf("take %s: %w", r.JobID, err)
		}
		c.note(r)
	}
	return nil
}

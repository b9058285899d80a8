package coordinator

import (
	"fmt"

	"github.com/batchagent/batchagent/pkg/batch"
)

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

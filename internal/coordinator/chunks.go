package coordinator

import (
	"iter"

	"github.com/batchagent/batchagent/internal/prefixorder"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// chunk is what one call feeds.
type chunk struct {
	indexes, rests []int64
	payloads       [][]byte
}

// chunks gathers jobs for one call each. A payload larger than a chunk goes alone.
func chunks(jobs iter.Seq2[prefixorder.Job, error]) iter.Seq2[chunk, error] {
	return func(yield func(chunk, error) bool) {
		var c chunk
		size := 0
		for job, err := range jobs {
			if err != nil {
				yield(chunk{}, err)
				return
			}
			full := len(c.payloads) == statestore.MaxFeedJobs || size+len(job.Payload) > statestore.MaxFeedBytes
			if len(c.payloads) > 0 && full {
				if !yield(c, nil) {
					return
				}
				c, size = chunk{}, 0
			}
			c.indexes, c.rests, c.payloads = append(c.indexes, job.Index), append(c.rests, job.Rest), append(c.payloads, job.Payload)
			size += len(job.Payload)
		}
		if len(c.payloads) > 0 {
			yield(c, nil)
		}
	}
}

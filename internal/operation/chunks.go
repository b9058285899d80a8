package operation

import (
	"iter"

	"github.com/batchagent/batchagent/internal/prefixorder"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// chunk is what one call feeds.
type chunk struct {
	Indexes, Rests []int64
	Payloads       [][]byte
}

// Chunks gathers jobs for one call each. A payload larger than a chunk goes alone.
func Chunks(jobs iter.Seq2[prefixorder.Job, error]) iter.Seq2[chunk, error] {
	return func(yield func(chunk, error) bool) {
		var c chunk
		size := 0
		for job, err := range jobs {
			if err != nil {
				yield(chunk{}, err)
				return
			}
			full := len(c.Payloads) == statestore.MaxFeedJobs || size+len(job.Payload) > statestore.MaxFeedBytes
			if len(c.Payloads) > 0 && full {
				if !yield(c, nil) {
					return
				}
				c, size = chunk{}, 0
			}
			c.Indexes, c.Rests, c.Payloads = append(c.Indexes, job.Index), append(c.Rests, job.Rest), append(c.Payloads, job.Payload)
			size += len(job.Payload)
		}
		if len(c.Payloads) > 0 {
			yield(c, nil)
		}
	}
}

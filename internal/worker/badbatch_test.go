package worker

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
)

// besideBadBatch runs a good batch, beside one with calls that all fail with kind, unless kind is nil. It returns how long
// the good batch took.
func besideBadBatch(t *testing.T, kind *backend.Error) (took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 300*time.Millisecond)
		var bad string
		f := &faulty{server: w.server, began: time.Now(), fault: func(_ time.Duration, r *backend.Request) error {
			if bad != "" && strings.HasPrefix(r.Hints.Session, bad+"/") {
				return kind
			}
			return nil
		}}
		const jobs = 300
		if kind != nil {
			bad = string(w.submit(jobs, nil))
		}
		good := w.submit(jobs, nil)
		node := w.start("node-1", func(c *Config) { c.Backend = f; c.Slots = 8 })
		info := w.await(good, time.Hour)
		took = time.Since(f.began)
		assert.EqualValues(t, jobs, info.Counts.OK)
		assert.Less(t, f.count(), 6*jobs, "calls of both batches")
		if kind != nil && !kind.Class.Retryable() {
			bad := w.await(batch.ID(bad), 10*time.Minute)
			assert.EqualValues(t, jobs, bad.Counts.Failed)
		}
		node.end()
	})
	return took
}

func TestBadBatchDoesNotSlowGoodBatch(t *testing.T) {
	alone := besideBadBatch(t, nil)
	for name, kind := range map[string]*backend.Error{
		"400": refusal(backend.InvalidRequest, 400, "temperature is not supported"),
		"500": refusal(backend.Transient, 500, "internal error"),
		"403": refusal(backend.Auth, 403, "your input was flagged"),
	} {
		t.Run(name, func(t *testing.T) {
			beside := besideBadBatch(t, kind)
			t.Logf("%s alone, %s beside the bad batch", alone, beside)
			assert.Less(t, beside, 2*alone+10*time.Second)
		})
	}
}

// TestOutageOfOneBatchFailsNoJob: for a while the server refuses the calls of one batch and answers those of another.
func TestOutageOfOneBatchFailsNoJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 300*time.Millisecond)
		const jobs = 400
		one := w.submit(jobs, nil)
		f := &faulty{server: w.server, began: time.Now(), fault: func(at time.Duration, r *backend.Request) error {
			if at > time.Second && at < 8*time.Second && strings.HasPrefix(r.Hints.Session, string(one)+"/") {
				return refusal(backend.InvalidRequest, 404, "No endpoints found that support tool use")
			}
			return nil
		}}
		two := w.submit(jobs, nil)
		node := w.start("node-1", func(c *Config) { c.Backend, c.Slots = f, 16 })
		assert.EqualValues(t, jobs, w.await(one, 10*time.Minute).Counts.OK)
		assert.EqualValues(t, jobs, w.await(two, 10*time.Minute).Counts.OK)
		node.end()
	})
}

func TestOutageDelaysTwoBatches(t *testing.T) {
	for name, kind := range outageKinds {
		if testing.Short() && name != "402" && name != "429" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 300*time.Millisecond)
				f := &faulty{server: w.server, began: time.Now(), fault: func(at time.Duration, _ *backend.Request) error {
					if at >= 3*time.Second && at < 43*time.Second {
						return kind
					}
					return nil
				}}
				const jobs = 300
				one, two := w.submit(jobs, nil), w.submit(jobs, nil)
				node := w.start("node-1", func(c *Config) { c.Backend = f })
				assert.EqualValues(t, jobs, w.await(one, 10*time.Minute).Counts.OK)
				assert.EqualValues(t, jobs, w.await(two, 10*time.Minute).Counts.OK)
				node.end()
				assert.LessOrEqual(t, f.count(), 2*2*jobs*105/100, "calls")
			})
		})
	}
}

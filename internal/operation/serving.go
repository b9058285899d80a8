package operation

import (
	"context"
	"time"

	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/serving"
	"github.com/batchagent/batchagent/pkg/batch"
)

const (
	servingEvery = 2 * time.Second // interval between reads of the workers
	servingGrace = 3 * time.Second // delay before a batch without a worker is reported
)

// WorkerLister lists the live workers. A source of results over HTTP may not implement it.
type WorkerLister interface {
	Workers(ctx context.Context) ([]batch.WorkerRecord, error)
}

// WorkerCheck checks whether a worker serves a batch. It reports once that none does.
type WorkerCheck struct {
	Workers WorkerLister // nil disables the check
	Notify  notice.Func

	looked time.Time
	pause  *batch.Pause
	since  time.Time // since when the batch has no worker
	sent   bool
}

// Look returns why the workers that could serve the batch make no model calls; nil if one makes calls, or no worker
// could serve it.
func (s *WorkerCheck) Look(ctx context.Context, now time.Time, info batch.Info) *batch.Pause {
	if s.Workers == nil || now.Sub(s.looked) < servingEvery {
		return s.pause
	}
	all, err := s.Workers.Workers(ctx)
	if err != nil {
		return s.pause
	}
	s.looked, s.pause = now, nil
	reason := ""
	if info.Phase != batch.Done && info.Counts.Waiting+info.Counts.Running > 0 && len(serversOf(info, all)) == 0 {
		reason, s.pause = trouble(serving.Needs(info), all)
	}
	switch {
	case reason == "" || s.pause != nil:
		s.since, s.sent = time.Time{}, false
	case s.since.IsZero():
		s.since = now
	case !s.sent && now.Sub(s.since) >= servingGrace:
		s.sent = true
		s.Notify.Send(notice.Waiting, "%s", reason)
	}
	return s.pause
}

// serversOf returns the IDs of the workers that can serve a batch. It is empty once the batch is done.
func serversOf(info batch.Info, workers []batch.WorkerRecord) []string {
	ids := []string{}
	for _, w := range workers {
		if !info.Phase.Terminal() && serving.Obstacle(serving.Needs(info), w) == "" {
			ids = append(ids, w.ID)
		}
	}
	return ids
}

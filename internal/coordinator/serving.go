package coordinator

import (
	"cmp"
	"context"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
)

const (
	servingEvery = 2 * time.Second // between two looks at the workers
	servingGrace = 3 * time.Second // a batch without a worker is reported after it
)

// workerLister lists the live workers. A source of results over HTTP may not have it.
type workerLister interface {
	Workers(ctx context.Context) ([]batch.WorkerRecord, error)
}

// serving watches whether some worker serves a batch, and reports once that none does.
type serving struct {
	workers workerLister // nil sees nothing
	say     func(string)

	looked time.Time
	pause  *batch.Pause
	since  time.Time // the batch has no worker
	said   bool
}

// look returns why the workers that could serve the batch make no model calls; nil if one does, or there is none.
func (s *serving) look(ctx context.Context, now time.Time, info batch.Info) *batch.Pause {
	if s.workers == nil || now.Sub(s.looked) < servingEvery {
		return s.pause
	}
	all, err := s.workers.Workers(ctx)
	if err != nil {
		return s.pause
	}
	s.looked, s.pause = now, nil
	reason := ""
	if info.Phase != batch.Done && info.Counts.Waiting+info.Counts.Running > 0 && len(serversOf(info, all)) == 0 {
		reason, s.pause = trouble(needsOf(info), all)
	}
	switch {
	case reason == "" || s.pause != nil:
		s.since, s.said = time.Time{}, false
	case s.since.IsZero():
		s.since = now
	case !s.said && now.Sub(s.since) >= servingGrace:
		s.said = true
		s.say(reason)
	}
	return s.pause
}

// needsOf is what a worker must have to serve a batch now.
func needsOf(info batch.Info) batch.Header {
	h := info.Header
	h.Model = cmp.Or(h.Model, info.Bound)
	return h
}

// serversOf returns the IDs of the workers that can serve a batch; none once it is done.
func serversOf(info batch.Info, workers []batch.WorkerRecord) []string {
	ids := []string{}
	for _, w := range workers {
		if !info.Phase.Terminal() && servable(needsOf(info), w) == "" {
			ids = append(ids, w.ID)
		}
	}
	return ids
}

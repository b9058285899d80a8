package operation

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/pkg/batch"
)

type workerList []batch.WorkerRecord

func (l *workerList) Workers(context.Context) ([]batch.WorkerRecord, error) { return *l, nil }

func TestServingReportsOnceThatNoWorkerServes(t *testing.T) {
	var said []string
	list := &workerList{}
	s := &WorkerCheck{Workers: list, Notify: func(n notice.Notice) { said = append(said, n.Text) }}
	info := batch.Info{Phase: batch.Sealed, Counts: batch.Counts{Total: 3, Waiting: 3}}
	now := time.Unix(1_800_000_000, 0)
	look := func(d time.Duration) *batch.Pause {
		var p *batch.Pause
		for end := now.Add(d); now.Before(end); now = now.Add(200 * time.Millisecond) {
			p = s.Look(t.Context(), now, info)
		}
		return p
	}
	look(time.Second)
	assert.Empty(t, said, "a worker may be about to start")
	look(time.Minute)
	assert.Equal(t, []string{"no worker is alive; jobs wait until one starts"}, said)

	pause := batch.Pause{Kind: "overloaded", Reason: "server answers 503", Since: now}
	*list = workerList{{ID: "w", Ready: true, Models: []string{"m"}, Pauses: []batch.Pause{pause}}}
	assert.Equal(t, &pause, look(5*time.Second))
	assert.Len(t, said, 1, "the progress shows it")

	*list = workerList{{ID: "w", Ready: true, Models: []string{"m"}}}
	assert.Nil(t, look(5*time.Second))
	*list = nil
	look(10 * time.Second)
	assert.Len(t, said, 2)
	info.Phase = batch.Done
	look(10 * time.Second)
	assert.Len(t, said, 2)
}

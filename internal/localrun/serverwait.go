package localrun

import (
	"context"
	"fmt"
	"time"

	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/worker"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
)

// ServerWait limits how long a run waits for its model server. The zero value waits until the server answers.
type ServerWait struct {
	// FailFast ends the run as soon as the server refuses the key, the account or the model. Without it, a refusal ends
	// the run only before the first answer.
	FailFast bool
	Longest  time.Duration // of one outage; 0 means no limit
}

const (
	outageEvery = 200 * time.Millisecond // interval between checks of the workers
	outageShown = time.Second            // duration after which an outage is reported
)

// pausing is a worker that may pause.
type pausing interface{ Pauses() []batch.Pause }

// outages watches the workers of a run for outages of its model server.
type outages struct {
	wait    ServerWait
	server  string // for messages
	workers []pausing
	notify  notice.Func

	began time.Time // start of the outage; zero while a worker makes calls
	shown bool
}

// awaitEnd returns the reason to end the run, or nil when ctx is done.
func (o *outages) awaitEnd(ctx context.Context) error {
	tick := time.NewTicker(outageEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := o.look(time.Now()); err != nil {
			return err
		}
	}
}

// look returns the reason to end the run; nil if the run continues.
func (o *outages) look(now time.Time) error {
	for _, w := range o.workers {
		for _, p := range w.Pauses() {
			if p.Misconfigured || o.wait.FailFast && refusal(p.Kind) {
				return o.end(p)
			}
		}
	}
	p := pauseOf(o.workers)
	switch {
	case p == nil:
		if o.shown {
			o.notify.Send(notice.Outage, "the model server answers again; the run continues")
		}
		o.began, o.shown = time.Time{}, false
		return nil
	case o.began.IsZero():
		o.began = now
	}
	if !o.shown && now.Sub(o.began) >= outageShown && p.Kind != string(backend.RateLimited) {
		o.shown = true
		o.notify.Send(notice.Outage, "%s; the server is probed until it answers", p)
	}
	if o.wait.Longest > 0 && now.Sub(o.began) >= o.wait.Longest {
		return &fault.UnreachableError{Err: fmt.Errorf("the model server %s gave no answer for %s: %s; jobs without a result are unfinished, not failed",
			o.server, human.Span(o.wait.Longest), p.Reason)}
	}
	return nil
}

// end returns the error of a run after its server refused the key, the account or the model.
func (o *outages) end(p batch.Pause) error {
	remedy := map[backend.Class]string{
		backend.Auth:           "set a valid key in BATCHAGENT_API_KEY",
		backend.QuotaExhausted: "add credit to the account, or use another key",
		backend.Transient:      "no call was answered; check that the URL is that of a model server, with its path, such as /v1",
		backend.UnknownModel:   fmt.Sprintf("it has no model %q: set `model` in the spec", p.Model),
	}[backend.Class(p.Kind)]
	if remedy == "" {
		remedy = "no call was answered; check the fields of the spec that the server names, such as sampling and tools, and how the server was started"
	}
	return &fault.UnreachableError{Err: fmt.Errorf("the model server %s refuses all calls (%s): %s", o.server, p.Reason, remedy)}
}

// refusal reports whether a pause of this kind ends only after a change of the key, the account or the model.
func refusal(kind string) bool {
	switch backend.Class(kind) {
	case backend.Auth, backend.QuotaExhausted, backend.UnknownModel:
		return true
	}
	return false
}

// pauseOf returns the reason why no worker makes calls; nil if a worker does.
func pauseOf(workers []pausing) *batch.Pause {
	var first *batch.Pause
	for _, w := range workers {
		pauses := w.Pauses()
		if len(pauses) == 0 {
			return nil
		}
		if first == nil {
			first = &pauses[0]
		}
	}
	return first
}

// watchServer ends the run by stop when the wait for the model server is over.
func (l *batchRun) watchServer(ctx context.Context, workers []*worker.Worker, stop context.CancelCauseFunc) {
	o := &outages{wait: l.wait, server: config.Redact(l.server.backend.Endpoint()), notify: l.notify}
	for _, w := range workers {
		o.workers = append(o.workers, w)
	}
	l.mu.Lock()
	l.pausing = o.workers
	l.mu.Unlock()
	if err := o.awaitEnd(ctx); err != nil {
		stop(err)
	}
}

// pause returns the reason why no worker of the run makes calls; nil if a worker does.
func (l *batchRun) pause() *batch.Pause {
	l.mu.Lock()
	workers := l.pausing
	l.mu.Unlock()
	return pauseOf(workers)
}

package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

const (
	// eventsAtOnce is how many results are read for a stream before they are written.
	eventsAtOnce = 100
	// progressEvery is how often progress is told, if it changed.
	progressEvery = time.Second
	// keepAlive is how often something is written: proxies close what is silent, and a client that is gone is noticed.
	keepAlive = 15 * time.Second
)

// stream is a text/event-stream, https://html.spec.whatwg.org/multipage/server-sent-events.html.
type stream struct {
	out  slowWriter
	last time.Time // when something was written
}

// openStream begins an event stream, if there is room for one more.
func (s *Server) openStream(w http.ResponseWriter) (st *stream, give func(), err error) {
	give, ok := take(s.streams)
	if !ok {
		return nil, nil, busy(fmt.Sprintf("%d streams are open already", cap(s.streams)))
	}
	h := w.Header()
	h.Set("Content-Type", events)
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	st = &stream{out: s.writer(w)}
	if err := st.comment("begin"); err != nil {
		give()
		return nil, nil, err
	}
	return st, give, nil
}

// event writes one event. data has no line ends; id is "" for none.
func (st *stream) event(name, id string, data []byte) error {
	var b bytes.Buffer
	if id != "" {
		fmt.Fprintf(&b, "id: %s\n", id)
	}
	fmt.Fprintf(&b, "event: %s\ndata: ", name)
	b.Write(data)
	b.WriteString("\n\n")
	st.last = time.Now()
	return st.out.write(b.Bytes())
}

func (st *stream) comment(text string) error {
	st.last = time.Now()
	if err := st.out.write([]byte(": " + text + "\n\n")); err != nil {
		return err
	}
	return st.out.flush()
}

// rest sends what was written, and something if nothing was written for long. It then waits, and reports whether to go
// on.
func (s *Server) rest(ctx context.Context, st *stream, d time.Duration) bool {
	if time.Since(st.last) > keepAlive && st.comment("still here") != nil {
		return false
	}
	if st.out.flush() != nil {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-s.ctx.Done():
	}
	return false
}

// events tells the progress and the results of a batch until it is done.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	after, err := number(r, "after", 0, 0, maxCursor)
	if err != nil {
		return err
	}
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		if after, err = strconv.ParseInt(last, 10, 64); err != nil || after < 0 {
			return problem(http.StatusBadRequest, "invalid", "Last-Event-ID %q is not the ID of a result", last)
		}
	}
	id, err := s.batchOf(ctx, r)
	if err != nil {
		return err
	}
	st, give, err := s.openStream(w)
	if err != nil {
		return err
	}
	defer give()
	f := &following{server: s, stream: st, id: id, after: after, silent: r.URL.Query().Get("results") == "false"}
	for {
		done, err := f.step(ctx)
		switch {
		case errors.Is(err, statestore.ErrNotFound):
			return nil // removed meanwhile
		case err != nil && !statestore.Unreachable(err):
			return err
		case done:
			return st.out.flush()
		}
		if !s.rest(ctx, st, pollEvery) {
			return nil
		}
	}
}

// following is one stream of a batch's events.
type following struct {
	server *Server
	stream *stream
	id     batch.ID
	after  int64
	silent bool // without results

	told []byte // the progress that was told last
	at   time.Time
}

// step writes what is new, and reports whether that was the last of it.
func (f *following) step(ctx context.Context) (done bool, err error) {
	look, cancel := context.WithTimeout(ctx, lookTimeout)
	// Asked before reading, so that what ended the batch is read after.
	v, err := f.server.view(look, f.id)
	cancel()
	if err != nil {
		return false, err
	}
	for !f.silent {
		n, err := f.results(ctx)
		if err != nil {
			return false, err
		}
		if n < eventsAtOnce {
			break
		}
	}
	data, err := json.Marshal(v)
	if err != nil {
		return false, fmt.Errorf("encode the progress: %w", err)
	}
	if v.Phase == batch.Done {
		return true, f.stream.event("done", "", data)
	}
	if time.Since(f.at) < progressEvery || bytes.Equal(data, f.told) {
		return false, nil
	}
	f.told, f.at = data, time.Now()
	return false, f.stream.event("progress", "", data)
}

func (f *following) results(ctx context.Context) (int, error) {
	look, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	entries, err := f.server.store.Results(look, f.id, f.after, eventsAtOnce)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if err := f.stream.event("result", strconv.FormatInt(e.Cursor, 10), e.Line); err != nil {
			return 0, err
		}
		f.after = e.Cursor
	}
	return len(entries), nil
}

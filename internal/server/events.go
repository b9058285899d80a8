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
	// eventsAtOnce is the number of results that a stream reads before it writes them.
	eventsAtOnce = 100
	// progressEvery is the minimum interval between progress events. Only changes are sent.
	progressEvery = time.Second
	// keepAlive is the longest silence of a stream. Proxies close silent connections, and a failed write reveals a
	// client that is gone.
	keepAlive = 15 * time.Second
)

// stream is a text/event-stream, https://html.spec.whatwg.org/multipage/server-sent-events.html.
type stream struct {
	out  slowWriter
	last time.Time // time of the last write
}

// openStream starts an event stream. It returns an error if all streams are in use. The caller calls give at the end.
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

// event writes one event. data has no line ends. An empty id is omitted.
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

// rest flushes the stream, with a comment if it was silent for keepAlive. It then waits for d and reports whether the
// stream continues.
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

// events streams the progress and the results of a batch until it is done.
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
		done, err := f.sendChanges(ctx)
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
	silent bool // omit results

	sent []byte // the last progress event
	at   time.Time
}

// sendChanges writes the changes and reports whether the batch is done.
func (f *following) sendChanges(ctx context.Context) (done bool, err error) {
	look, cancel := context.WithTimeout(ctx, lookTimeout)
	// Read the batch before its results, so that no result of a finished batch is missed.
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
	if time.Since(f.at) < progressEvery || bytes.Equal(data, f.sent) {
		return false, nil
	}
	f.sent, f.at = data, time.Now()
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

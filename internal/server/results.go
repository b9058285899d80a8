package server

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

const (
	defaultResults = 500
	maxResults     = 1000
	maxWait        = 30 * time.Second
	maxCursor      = 1 << 53
	// pollEvery is the interval at which waiting streams read Redis. A blocking read would hold a connection per
	// stream.
	pollEvery = 500 * time.Millisecond
)

// results writes one page of results. It reads them before the answer starts, because the header contains the next
// cursor.
func (s *Server) results(w http.ResponseWriter, r *http.Request) error {
	after, err := number(r, "after", 0, 0, maxCursor)
	if err != nil {
		return err
	}
	limit, err := number(r, "limit", defaultResults, 1, maxResults)
	if err != nil {
		return err
	}
	wait, err := seconds(r, "wait", maxWait)
	if err != nil {
		return err
	}
	cursors := r.URL.Query().Get("cursors") == "true"
	id, err := s.batchOf(r.Context(), r)
	if err != nil {
		return err
	}
	give, ok := take(s.streams)
	if !ok {
		return busy(fmt.Sprintf("%d streams are open already", cap(s.streams)))
	}
	defer give()
	phase, entries, err := s.await(r.Context(), id, after, int(limit), wait)
	if err != nil {
		return err
	}
	next := after
	if len(entries) > 0 {
		next = entries[len(entries)-1].Cursor
	}
	h := w.Header()
	h.Set("Content-Type", ndjson)
	h.Set("Batchagent-Next-Cursor", strconv.FormatInt(next, 10))
	h.Set("Batchagent-Phase", string(phase))
	h.Set("Link", fmt.Sprintf("</api/v1/batches/%s/results?after=%d&limit=%d>; rel=\"next\"", id, next, limit))
	out := s.writer(w)
	for _, e := range entries {
		line := e.Line
		if cursors {
			line = fmt.Appendf(nil, `{"cursor":%d,"result":%s}`, e.Cursor, e.Line)
		}
		if err := out.write(append(line, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// await reads results. If none exist and the batch is not done, it waits for the first one. The phase is from before
// the read: if it is [batch.Done] and no entries are returned, no more will come.
func (s *Server) await(ctx context.Context, id batch.ID, after int64, n int, wait time.Duration) (batch.Phase, []statestore.Entry, error) {
	end := time.NewTimer(wait)
	defer end.Stop()
	for {
		look, cancel := context.WithTimeout(ctx, lookTimeout)
		phase, err := s.store.Phase(look, id)
		var entries []statestore.Entry
		if err == nil {
			entries, err = s.store.Results(look, id, after, n)
		}
		cancel()
		if err != nil || len(entries) > 0 || phase == batch.Done || wait == 0 {
			return phase, entries, err
		}
		select {
		case <-end.C:
			return phase, nil, nil
		case <-ctx.Done():
			return "", nil, ctx.Err()
		case <-s.ctx.Done():
			return phase, nil, nil
		case <-time.After(pollEvery):
		}
	}
}

// slowWriter sets a deadline for every write. A reader that takes longer is disconnected.
type slowWriter struct {
	w        http.ResponseWriter
	c        *http.ResponseController
	patience time.Duration
}

func (s *Server) writer(w http.ResponseWriter) slowWriter {
	return slowWriter{w, http.NewResponseController(w), s.cfg.Patience}
}

func (s slowWriter) write(p []byte) error {
	// Some ResponseWriters have no deadlines; the ones of net/http have.
	_ = s.c.SetWriteDeadline(time.Now().Add(s.patience))
	_, err := s.w.Write(p)
	return err
}

func (s slowWriter) flush() error {
	_ = s.c.SetWriteDeadline(time.Now().Add(s.patience))
	return s.c.Flush()
}

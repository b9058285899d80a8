package openaichat

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	maxLineBytes = 8 << 20
	// drainWait bounds the wait for the end of a body whose stream has ended.
	drainWait  = 100 * time.Millisecond
	drainBytes = 4096
)

// eventBody is a stream's body as go-openai reads it: the data lines of chat events, and nothing else.
//
// An error event ends the body with a [*backend.Error]. A line that the connection cut is not handed out. When no byte
// has come for the silence timeout, cancel is called, which makes the next read fail; the clock starts with the
// body's first byte, because a server may send headers while the request is still queued.
type eventBody struct {
	body   io.ReadCloser
	lines  *bufio.Reader // over body, through Read of watch
	pool   *sync.Pool    // where lines goes on Close
	rules  rules
	extra  string // name of further events that are handed out; "" for none
	watch  *silenceWatch
	rest   []byte // of lines' buffer: what is to be handed out before the next read
	length int    // of the line being read, so far
	pass   bool   // the line being read is handed out
	alien  bool   // within an event of another name
}

func newEventBody(body io.ReadCloser, silence time.Duration, cancel context.CancelCauseFunc, pool *sync.Pool) *eventBody {
	b := &eventBody{
		body:  body,
		lines: pool.Get().(*bufio.Reader),
		pool:  pool,
		watch: &silenceWatch{src: body, limit: silence, expire: func() { cancel(errSilent) }},
	}
	b.lines.Reset(b.watch)
	return b
}

func (b *eventBody) Read(p []byte) (int, error) {
	if b.lines == nil {
		return 0, errors.New("read of a closed stream")
	}
	for len(b.rest) == 0 {
		if err := b.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// next reads a line, or a piece of a long one.
func (b *eventBody) next() error {
	piece, err := b.lines.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return err
	}
	if b.length == 0 {
		if err := b.begin(piece); err != nil {
			return err
		}
	}
	if b.length += len(piece); b.length > maxLineBytes {
		return fmt.Errorf("an event is longer than %d bytes", maxLineBytes)
	}
	if err == nil {
		b.length = 0
	}
	if b.pass {
		b.rest = piece
	}
	return nil
}

// begin decides about a line by its first piece.
func (b *eventBody) begin(piece []byte) error {
	b.pass = false
	if name, ok := bytes.CutPrefix(piece, []byte("event:")); ok {
		switch string(bytes.TrimSpace(name)) {
		case "", "message", "error":
			b.alien = false
		default:
			b.alien = b.extra == "" || string(bytes.TrimSpace(name)) != b.extra
		}
		return nil
	}
	if piece[0] == '{' { // an error that the server did not frame as an event
		return b.rules.streamError(piece)
	}
	data, ok := bytes.CutPrefix(piece, []byte("data:"))
	if !ok {
		if len(bytes.TrimSpace(piece)) == 0 {
			b.alien = false
		}
		return nil
	}
	if b.alien {
		return nil
	}
	if data = bytes.TrimSpace(data); bytes.HasPrefix(data, []byte(`{"error"`)) {
		return b.rules.streamError(data)
	}
	b.pass = true
	return nil
}

// drain reads to the body's end, so that the connection can be used again. It is for a stream whose last event has
// been read; if the server does not end the body soon, the connection is closed instead.
func (b *eventBody) drain() {
	b.watch.limit = drainWait
	b.watch.touch()
	_, _ = io.CopyN(io.Discard, b.lines, drainBytes) // the answer is complete: nothing more can go wrong
}

// Close closes the connection unless the body was read to its end.
func (b *eventBody) Close() error {
	if b.lines == nil {
		return nil
	}
	b.watch.stop()
	b.lines.Reset(nil)
	b.pool.Put(b.lines)
	b.lines, b.rest = nil, nil
	return b.body.Close()
}

// silenceWatch calls expire when nothing was read for the limit, from the first byte on.
type silenceWatch struct {
	src    io.Reader
	limit  time.Duration
	expire func()
	timer  *time.Timer
}

func (w *silenceWatch) Read(p []byte) (int, error) {
	n, err := w.src.Read(p)
	if n > 0 {
		w.touch()
	}
	return n, err
}

func (w *silenceWatch) touch() {
	if w.timer == nil {
		w.timer = time.AfterFunc(w.limit, w.expire)
		return
	}
	w.timer.Reset(w.limit)
}

func (w *silenceWatch) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}

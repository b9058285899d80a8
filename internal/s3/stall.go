package s3

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// A request ends if fewer than leastProgress bytes moved in stallAfter. So neither a server that sends nothing nor one that sends a byte at a
// time holds a command.
const (
	stallAfter    = 2 * time.Minute
	leastProgress = 64 << 10
)

var errStalled = errors.New("the transfer made almost no progress for minutes")

// watch cancels the context of a request that makes no progress.
type watch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	after  time.Duration
	timer  *time.Timer
	moved  atomic.Int64 // since the timer started
}

func newWatch(ctx context.Context, after time.Duration) *watch {
	w := &watch{after: after}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(after, func() { w.cancel(errStalled) })
	return w
}

// progress counts bytes that moved.
func (w *watch) progress(n int) {
	if w.moved.Add(int64(n)) >= leastProgress {
		w.restart()
	}
}

// restart begins a new wait.
func (w *watch) restart() {
	w.moved.Store(0)
	w.timer.Reset(w.after)
}

func (w *watch) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// reason returns errStalled if the watch has caused err.
func (w *watch) reason(err error) error {
	if err != nil && !errors.Is(err, io.EOF) && errors.Is(context.Cause(w.ctx), errStalled) {
		return errStalled
	}
	return err
}

// watchedReader is the body of a request.
type watchedReader struct {
	io.Reader
	watch *watch
}

func (r watchedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.watch.progress(n)
	return n, err
}

// watchedBody is the body of an answer. Close ends the watch.
type watchedBody struct {
	io.ReadCloser
	watch *watch
}

func (b watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.watch.progress(n)
	return n, b.watch.reason(err)
}

func (b watchedBody) Close() error {
	defer b.watch.stop()
	return b.ReadCloser.Close()
}

package agent

import (
	"context"
	"sync"
	"time"
)

// jobClock measures the time limit of a job. It is stopped while the job waits for an outage of the model server to end.
// A nil jobClock has no limit. Safe for concurrent use: the parts of a reduction share it.
type jobClock struct {
	expire func()

	mu      sync.Mutex
	left    time.Duration // guarded by mu; when the clock was last started
	started time.Time     // guarded by mu
	stopped int           // guarded by mu; waits under way
	timer   *time.Timer   // guarded by mu
}

func newJobClock(limit time.Duration, expire func()) *jobClock {
	if limit <= 0 {
		return nil
	}
	return &jobClock{expire: expire, left: limit, started: time.Now(), timer: time.AfterFunc(limit, expire)}
}

// stop stops the clock until resume is called.
func (c *jobClock) stop() (resume func()) {
	if c == nil {
		return func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped++
	if c.stopped == 1 {
		c.timer.Stop()
		c.left -= time.Since(c.started)
	}
	return sync.OnceFunc(c.resume)
}

func (c *jobClock) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped--
	if c.stopped == 0 {
		c.started = time.Now()
		c.timer = time.AfterFunc(max(c.left, 0), c.expire)
	}
}

// giveBack adds the duration of an outage to the time that is left.
func (c *jobClock) giveBack(d time.Duration) {
	if c == nil {
		return
	}
	resume := c.stop()
	c.mu.Lock()
	c.left += d
	c.mu.Unlock()
	resume()
}

func (c *jobClock) end() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped++ // prevents any later start
	c.timer.Stop()
}

type clockKey struct{}

// StopClock stops the time limit of the job that calls [Slots.Acquire] with ctx, until resume is called. The job waits
// for an outage to end.
func StopClock(ctx context.Context) (resume func()) {
	c, _ := ctx.Value(clockKey{}).(*jobClock)
	return c.stop()
}

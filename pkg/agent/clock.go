package agent

import (
	"sync"
	"time"
)

// Clock measures the time limit of a job. It is stopped while the job waits for an outage of the model server to end.
// A nil Clock has no limit. Safe for concurrent use: the parts of a reduction share it.
type Clock struct {
	expire func()

	mu      sync.Mutex
	left    time.Duration // guarded by mu; when the clock was last started
	started time.Time     // guarded by mu
	stopped int           // guarded by mu; waits under way
	timer   *time.Timer   // guarded by mu
}

func newClock(limit time.Duration, expire func()) *Clock {
	if limit <= 0 {
		return nil
	}
	return &Clock{expire: expire, left: limit, started: time.Now(), timer: time.AfterFunc(limit, expire)}
}

// Stop stops the clock until resume is called.
func (c *Clock) Stop() (resume func()) {
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

func (c *Clock) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped--
	if c.stopped == 0 {
		c.started = time.Now()
		c.timer = time.AfterFunc(max(c.left, 0), c.expire)
	}
}

// giveBack adds the duration of an outage to the time that is left.
func (c *Clock) giveBack(d time.Duration) {
	if c == nil {
		return
	}
	resume := c.Stop()
	c.mu.Lock()
	c.left += d
	c.mu.Unlock()
	resume()
}

func (c *Clock) end() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped++ // prevents any later start
	c.timer.Stop()
}

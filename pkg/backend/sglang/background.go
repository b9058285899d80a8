package sglang

import "sync"

// background runs short requests without a waiting caller.
type background struct {
	limit int // running at once

	mu      sync.Mutex
	running int  // guarded by mu
	closed  bool // guarded by mu
	wait    sync.WaitGroup
}

// start runs f on a goroutine, unless too many are running or close was called.
func (b *background) start(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.running >= b.limit {
		return
	}
	b.running++
	b.wait.Go(func() {
		f()
		b.mu.Lock()
		defer b.mu.Unlock()
		b.running--
	})
}

// close waits for running requests and prevents further ones.
func (b *background) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.wait.Wait()
}

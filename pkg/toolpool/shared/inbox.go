package shared

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/batchagent/batchagent/pkg/sleep"
)

const (
	inboxBlock = time.Second
	// inboxLives is the expiry of an inbox. A living process renews it three times as often.
	inboxLives = time.Minute
	// inboxLength limits the notes in an inbox. Older notes are lost; their waiters ask again at the lease's end.
	inboxLength = 10_000
	inboxRead   = 512 // notes at a time
	retryRead   = 200 * time.Millisecond
)

// inbox is the stream that notifies this process of ended executions.
type inbox struct {
	blocking, commands redis.Cmdable
	key                string
	link               *link

	mu      sync.Mutex
	waiters map[[32]byte]map[chan struct{}]bool // guarded by mu; each has capacity 1
}

func newInbox(blocking, commands redis.Cmdable, name string, l *link) *inbox {
	return &inbox{blocking: blocking, commands: commands, key: inboxKey(name), link: l, waiters: map[[32]byte]map[chan struct{}]bool{}}
}

// expect returns a channel that is notified when an execution of the call has ended, or when notes may have been lost.
func (b *inbox) expect(key [32]byte) (note <-chan struct{}, forget func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := make(chan struct{}, 1)
	if b.waiters[key] == nil {
		b.waiters[key] = map[chan struct{}]bool{}
	}
	b.waiters[key][c] = true
	return c, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.waiters[key], c)
		if len(b.waiters[key]) == 0 {
			delete(b.waiters, key)
		}
	}
}

func (b *inbox) wake(key [32]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.waiters[key] {
		ring(c)
	}
}

func (b *inbox) wakeAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, all := range b.waiters {
		for c := range all {
			ring(c)
		}
	}
}

func ring(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// read delivers notes until ctx is done. It also detects that Redis is unreachable, and reachable again.
func (b *inbox) read(ctx context.Context) {
	position, touched := "", time.Time{}
	failed := false
	for ctx.Err() == nil {
		err := b.readOnce(ctx, &position, &touched)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			b.link.failed(err)
			failed = true
			_ = sleep.For(ctx, retryRead)
		default:
			b.link.worked()
			if failed {
				b.wakeAll()
			}
			failed = false
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), inboxBlock)
	defer cancel()
	_ = b.commands.Del(ctx, b.key).Err() // otherwise it expires
}

func (b *inbox) readOnce(ctx context.Context, position *string, touched *time.Time) error {
	if *position == "" {
		id, err := b.open(ctx)
		if err != nil {
			return err
		}
		*position, *touched = id, time.Now()
		b.wakeAll() // earlier notes are lost
	}
	if time.Since(*touched) > inboxLives/3 {
		there, err := b.commands.PExpire(ctx, b.key, inboxLives).Result()
		if err != nil {
			return err
		}
		*touched = time.Now()
		if !there { // Redis restarted empty, or this process was stopped for long
			*position = ""
			return nil
		}
	}
	streams, err := b.blocking.XRead(ctx, &redis.XReadArgs{Streams: []string{b.key, *position}, Count: inboxRead, Block: inboxBlock}).Result()
	if isNil(err) {
		return nil
	}
	if err != nil {
		*touched = time.Time{} // the address may lead to another, empty server now
		return err
	}
	for _, s := range streams {
		for _, m := range s.Messages {
			*position = m.ID
			if k, _ := m.Values["k"].(string); len(k) == 32 {
				b.wake([32]byte([]byte(k)))
			}
		}
	}
	return nil
}

// open creates the inbox and returns the position to read from.
func (b *inbox) open(ctx context.Context) (string, error) {
	id, err := b.commands.XAdd(ctx, &redis.XAddArgs{Stream: b.key, MaxLen: inboxLength, Approx: true, Values: []string{"k", ""}}).Result()
	if err != nil {
		return "", err
	}
	return id, b.commands.PExpire(ctx, b.key, inboxLives).Err()
}

// nudge ends a blocked read, because the end of its context does not.
func (b *inbox) nudge(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, retryRead)
	defer cancel()
	_ = b.commands.XAdd(ctx, &redis.XAddArgs{Stream: b.key, NoMkStream: true, Values: []string{"k", ""}}).Err() // the read ends anyway
}

// tell announces in the inboxes that an execution of the call has ended. It does not recreate a deleted inbox.
func (s *Sharer) tell(ctx context.Context, key [32]byte, inboxes []string) error {
	if len(inboxes) == 0 {
		return nil
	}
	_, err := s.cfg.Commands.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, name := range inboxes {
			p.XAdd(ctx, &redis.XAddArgs{Stream: inboxKey(name), NoMkStream: true, MaxLen: inboxLength, Approx: true, Values: []any{"k", key[:]}})
		}
		return nil
	})
	if isNil(err) {
		return nil
	}
	return err
}

package coordinator

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// connectTimeout bounds the wait for Redis' first answer.
const connectTimeout = 10 * time.Second

// Connect opens the store. An UnreachableError names the address.
func Connect(ctx context.Context, to config.Redis) (*statestore.Store, error) {
	dial, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	s, err := statestore.Open(dial, to.URL, statestore.Options{TLS: to.TLS})
	if err != nil {
		return nil, &UnreachableError{err}
	}
	return s, nil
}

// waiter is a store as far as an outage of it concerns.
type waiter interface {
	Address() string
	// UntilKnown repeats op, as [statestore.Store.UntilKnown] does.
	UntilKnown(ctx context.Context, op func() error) error
}

// Once makes of open a function that opens the store at its first call and gives the same one later, and a function that
// closes it if it was opened. Neither is safe for concurrent use.
func Once(open func(context.Context) (*statestore.Store, error)) (connect func(context.Context) (*statestore.Store, error), closeStore func()) {
	var store *statestore.Store
	connect = func(ctx context.Context) (*statestore.Store, error) {
		if store != nil {
			return store, nil
		}
		s, err := open(ctx)
		if err == nil {
			store = s
		}
		return s, err
	}
	return connect, func() {
		if store != nil {
			_ = store.Close()
		}
	}
}

// patience repeats verbs of the store through an outage of Redis, and says once that it waits.
type patience struct {
	store waiter
	say   func(string)
	lost  bool
}

// do runs op, which must be safe to repeat, until its outcome is known or ctx is done.
func (p *patience) do(ctx context.Context, op func() error) error {
	err := p.store.UntilKnown(ctx, func() error {
		err := op()
		switch known := !statestore.Unreachable(err) && !errors.Is(err, statestore.ErrFull); {
		case ctx.Err() != nil:
		case !known && !p.lost:
			p.lost = true
			if errors.Is(err, statestore.ErrFull) {
				p.say("Redis at " + p.store.Address() + " is out of memory (maxmemory); waiting until there is room")
			} else {
				p.say(p.name() + " does not answer; waiting for it, nothing is lost")
			}
		case known && p.lost:
			p.lost = false
			p.say(p.name() + " answers again")
		}
		return err
	})
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// name is what the store is called: Redis, unless its address says that it is something else.
func (p *patience) name() string {
	if strings.Contains(p.store.Address(), "://") {
		return p.store.Address()
	}
	return "Redis at " + p.store.Address()
}

package coordinator

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// connectTimeout limits the wait for Redis' first answer.
const connectTimeout = 10 * time.Second

// Connect opens the store. It returns an UnreachableError, which names the address, if Redis does not answer.
func Connect(ctx context.Context, to config.Redis) (*statestore.Store, error) {
	dial, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	s, err := statestore.Open(dial, to.URL, statestore.Options{TLS: to.TLS})
	if err != nil {
		return nil, &UnreachableError{err}
	}
	return s, nil
}

// waiter is the part of a store that patience needs.
type waiter interface {
	Address() string
	// UntilKnown repeats op, as [statestore.Store.UntilKnown] does.
	UntilKnown(ctx context.Context, op func() error) error
}

// Once returns two functions. connect opens the store at its first call and returns the same store later. closeStore
// closes the store if it is open. Neither is safe for concurrent use.
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

// patience retries store operations through an outage of Redis. It reports the start and the end of the wait once each.
type patience struct {
	store waiter
	say   func(string)
	lost  bool
}

// do retries op until its outcome is known or ctx is done. op must be idempotent.
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

// name returns the display name of the store: its address if that is a URL, otherwise Redis and the address.
func (p *patience) name() string {
	if strings.Contains(p.store.Address(), "://") {
		return p.store.Address()
	}
	return "Redis at " + p.store.Address()
}

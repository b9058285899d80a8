package operation

import (
	"context"
	"time"

	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/internal/fault"
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
		return nil, &fault.UnreachableError{Err: err}
	}
	return s, nil
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

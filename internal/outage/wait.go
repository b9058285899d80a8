// Package outage waits until a store that does not answer answers again.
package outage

import (
	"context"
	"errors"
	"strings"

	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// Store is the part of a store, or of a server in front of one, that a [Wait] needs.
type Store interface {
	Address() string
	// UntilKnown repeats op, as [statestore.Store.UntilKnown] does.
	UntilKnown(ctx context.Context, op func() error) error
}

// Wait repeats operations on a store through its outages. It reports the start and the end of each outage once. It is not
// safe for concurrent use.
type Wait struct {
	Store  Store
	Notify notice.Func

	lost bool
}

// Do repeats op until its outcome is known or ctx is done. op must be idempotent.
func (w *Wait) Do(ctx context.Context, op func() error) error {
	err := w.Store.UntilKnown(ctx, func() error {
		err := op()
		switch known := !statestore.Unreachable(err) && !errors.Is(err, statestore.ErrFull); {
		case ctx.Err() != nil:
		case !known && !w.lost:
			w.lost = true
			if errors.Is(err, statestore.ErrFull) {
				w.Notify.Send(notice.Outage, "Redis at %s is out of memory (maxmemory); waiting until there is room", w.Store.Address())
			} else {
				w.Notify.Send(notice.Outage, "%s does not answer; waiting for it, nothing is lost", w.name())
			}
		case known && w.lost:
			w.lost = false
			w.Notify.Send(notice.Outage, "%s answers again", w.name())
		}
		return err
	})
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// name returns the display name of the store: its address if that is a URL, otherwise Redis and the address.
func (w *Wait) name() string {
	if strings.Contains(w.Store.Address(), "://") {
		return w.Store.Address()
	}
	return "Redis at " + w.Store.Address()
}

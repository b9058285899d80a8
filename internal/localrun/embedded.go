package localrun

import (
	"context"
	"fmt"
	"net"

	"github.com/alicebob/miniredis/v2"

	"github.com/batchagent/batchagent/pkg/statestore"
)

// embeddedRedis is a Redis server in this process. It is reached through pipes and opens no port.
type embeddedRedis struct {
	server *miniredis.Miniredis
	store  *statestore.Store
}

func startEmbedded(ctx context.Context) (*embeddedRedis, error) {
	m := miniredis.NewMiniRedis()
	s, err := statestore.Open(ctx, "redis://127.0.0.1:6379", statestore.Options{
		Dialer: func(context.Context, string, string) (net.Conn, error) { return m.Dial() },
	})
	if err != nil {
		m.Close()
		return nil, fmt.Errorf("start the embedded Redis: %w", err)
	}
	return &embeddedRedis{m, s}, nil
}

func (e *embeddedRedis) Close() {
	_ = e.store.Close()
	e.server.Close()
}

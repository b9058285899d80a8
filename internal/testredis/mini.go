package testredis

import (
	"context"
	"net"
	"testing"

	"github.com/alicebob/miniredis/v2"
)

// Dialer connects a client to its server.
type Dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// PipeURL is an address for clients that use the dialer of [Pipe]. It is an IP literal and therefore never resolved.
const PipeURL = "redis://127.0.0.1:6379"

// Mini starts an embedded server on a loopback port.
func Mini(t testing.TB) (url string, m *miniredis.Miniredis) {
	t.Helper()
	m = miniredis.RunT(t)
	return "redis://" + m.Addr(), m
}

// Pipe starts an embedded server without a network. Its clock is time.Now, also for TTLs: in a bubble it is the bubble's clock.
// Use it with [PipeURL].
func Pipe(t testing.TB) (Dialer, *miniredis.Miniredis) {
	t.Helper()
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true)
	t.Cleanup(m.Close)
	return func(context.Context, string, string) (net.Conn, error) { return m.Dial() }, m
}

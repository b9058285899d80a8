package server

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// accepting counts the connections that a server accepted.
type accepting struct {
	net.Listener
	accepted atomic.Int64
}

func (a *accepting) Accept() (net.Conn, error) {
	c, err := a.Listener.Accept()
	if err == nil {
		a.accepted.Add(1)
	}
	return c, err
}

// TestConnectionsAreLimited opens as many connections as a server may hold. One more is not accepted, the open ones are served, and
// the next is accepted as soon as one ends.
func TestConnectionsAreLimited(t *testing.T) {
	w := serve(t, nil)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	counted := &accepting{Listener: l}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.srv.Serve(ctx, counted) }()
	defer func() { cancel(); require.NoError(t, <-ended) }()

	dial := func() net.Conn {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	open := make([]net.Conn, maxConnections)
	for i := range open {
		open[i] = dial()
	}
	require.Eventually(t, func() bool { return counted.accepted.Load() == maxConnections }, 10*time.Second, time.Millisecond)
	late := dial()
	ask := func(c net.Conn) {
		_, err := fmt.Fprintf(c, "GET /healthz HTTP/1.1\r\nHost: %s\r\n\r\n", l.Addr())
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		_ = resp.Body.Close()
		assert.Equal(t, http.StatusOK, resp.StatusCode)
	}
	ask(open[0])
	assert.EqualValues(t, maxConnections, counted.accepted.Load())
	require.NoError(t, open[1].Close())
	ask(late)
}

package vllmsim

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStartServesUntilStopped(t *testing.T) {
	t.Parallel()
	s, err := New(Config{})
	require.NoError(t, err)
	url, stop, err := s.Start(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	resp, err := http.Get(url + "/version")
	require.NoError(t, err)
	assert.JSONEq(t, `{"version":"0.32.0"}`, body(t, resp))
	http.DefaultClient.CloseIdleConnections()
	require.NoError(t, stop())
	require.NoError(t, stop())
}

func TestStartEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s, err := New(Config{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	_, stop, err := s.Start(ctx, "localhost:0")
	require.NoError(t, err)
	cancel()
	require.NoError(t, stop())
}

func TestStartRefusesRemoteAddresses(t *testing.T) {
	t.Parallel()
	s, err := New(Config{})
	require.NoError(t, err)
	for _, addr := range []string{":0", "0.0.0.0:0", "192.0.2.1:80", "example.com:80", "nonsense"} {
		_, _, err := s.Start(t.Context(), addr)
		require.ErrorIs(t, err, ErrRemoteAddress, addr)
	}
	s, err = New(Config{AllowRemote: true})
	require.NoError(t, err)
	_, stop, err := s.Start(t.Context(), ":0")
	require.NoError(t, err)
	require.NoError(t, stop())
}

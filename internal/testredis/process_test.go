package testredis

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAnotherServerHasThePort checks that a server does not count as started if another server has its port.
func TestAnotherServerHasThePort(t *testing.T) {
	first := Server(t)
	late := newProcess(t)
	late.port = first.port
	assert.False(t, late.launch())
	require.NoError(t, first.Client().Ping(t.Context()).Err())
}

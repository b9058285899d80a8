package testredis

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A server that comes too late for its port is not taken for the one that has it.
func TestAnotherServerHasThePort(t *testing.T) {
	first := Server(t)
	late := newProcess(t)
	late.port = first.port
	assert.False(t, late.launch())
	require.NoError(t, first.Client().Ping(t.Context()).Err())
}

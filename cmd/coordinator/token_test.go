package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/terminal"
)

func TestShortTokensAreRefused(t *testing.T) {
	for _, token := range []string{"x", "fifteen-letters"} {
		r := coordinate(t, map[string]string{tokenVariable: token}, "", "serve", "--listen", "127.0.0.1:0")
		assert.Equal(t, terminal.ExitUsage, r.status)
		assert.Contains(t, r.err, "`coordinator token` makes one")
	}
	r := coordinate(t, nil, "", "token")
	require.Equal(t, 0, r.status)
	assert.GreaterOrEqual(t, len(strings.TrimSpace(r.out)), minToken)
}

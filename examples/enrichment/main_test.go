package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/toolset"
	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool/sqlite"
)

// TestLookupsFindTheAccounts checks that the lookups in tools.yaml find the rows of accounts.sql.
func TestLookupsFindTheAccounts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 2 { // build replaces the file
		require.NoError(t, build(filepath.Join(dir, "accounts.db")))
	}
	text, err := os.ReadFile("tools.yaml")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tools.yaml"), text, 0o600))
	file, err := toolset.Read(filepath.Join(dir, "tools.yaml"), os.LookupEnv)
	require.NoError(t, err)
	set, err := toolset.Open(t.Context(), file, toolset.Options{Root: dir, Drivers: map[string]func() sqltool.Driver{"sqlite": sqlite.Driver}})
	require.NoError(t, err)
	defer set.Close()
	pool, err := toolpool.New(toolpool.Config{})
	require.NoError(t, err)
	require.NoError(t, set.Register(pool))
	for call, want := range map[toolpool.Call]string{
		{Name: "account", Arguments: `{"id":"A-103"}`}:    "Quarry Street Clinic",
		{Name: "sales", Arguments: `{"account":"A-101"}`}: "39800",
		{Name: "sales", Arguments: `{"account":"A-999"}`}: "[]",
	} {
		r, err := pool.Call(t.Context(), call)
		require.NoError(t, err)
		assert.False(t, r.Failed, r.Content)
		assert.Contains(t, r.Content, want)
	}
}

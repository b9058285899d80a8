package sqltool_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/redact"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool"
)

// An uninterruptible statement ends at its timeout, and a model's mistake is not reported as a lost connection.
func TestSQLiteStatementsThatCannotBeInterrupted(t *testing.T) {
	t.Parallel()
	d := sqliteDatabase(t)
	s, err := sqltool.Open(sqltool.Config{Name: "shop", Driver: d.driver, DSN: d.dsn, Timeout: 2 * time.Second})
	require.NoError(t, err)
	defer s.Close()
	tool := sqltool.QueryTool([]*sqltool.Source{s})
	query := func(statement string) (string, error) { return tool.Run(t.Context(), queryArgs(statement)) }
	for statement, says := range map[string]string{
		"SELECT instr(hex(zeroblob(4000000)), hex(zeroblob(2000000))||'1')":                    "2s and was stopped",
		"WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n) SELECT count(*) FROM n": "2s and was stopped",
		"SELECT data FROM sqlite_dbpage":                                                       "database says",
		"SELECT count(*) FROM SQLITE_DBPAGE":                                                   "database says",
		"SELECT * FROM dbstat":                                                                 "database says",
		"SELECT * FROM pragma_database_list":                                                   "database says",
		"SELECT id FROM orders WHERE id = ?1":                                                  "database says",
		"SELECT zeroblob(100000000)":                                                           "too big",
		"SELECT replace(hex(zeroblob(8000000)), '0', hex(zeroblob(100)))":                      "",
	} {
		began := time.Now()
		_, err := query(statement)
		require.Error(t, err, statement)
		assert.Contains(t, err.Error(), says, statement)
		assert.NotContains(t, err.Error(), "cannot be reached", statement)
		assert.NotContains(t, err.Error(), "file:", statement)
		assert.Less(t, time.Since(began), time.Minute)
	}
	text, err := query("SELECT value FROM json_each('[1,2]')")
	require.NoError(t, err)
	assert.Equal(t, 2, strings.Count(text, "value"))
	text, err = query("SELECT name FROM sqlite_master WHERE type = 'table'")
	require.NoError(t, err)
	assert.Contains(t, text, "orders")
}

func queryArgs(statement string) json.RawMessage {
	text, _ := json.Marshal(map[string]any{"query": statement}) //nolint:errchkjson // strings only
	return text
}

// A cut value contains no part of a key, wherever the cut is, and in both kinds of process.
func TestKeysInLongValuesAreStruckOutBeforeTheCut(t *testing.T) {
	t.Parallel()
	const key = "sk-live-4f9a8c21e7b0d63a5"
	d := sqliteDatabase(t)
	here := d.driver
	here.Apart = nil
	for name, driver := range map[string]sqltool.Driver{"apart": d.driver, "here": here} {
		s, err := sqltool.Open(sqltool.Config{Name: "shop", Driver: driver, DSN: d.dsn, Secrets: redact.New(key)})
		require.NoError(t, err)
		defer s.Close()
		tool := sqltool.QueryTool([]*sqltool.Source{s})
		for before := 16<<10 - len(key) - 1; before <= 16<<10+1; before++ {
			text, err := tool.Run(t.Context(), queryArgs(fmt.Sprintf("SELECT printf('%%.*c', %d, 'x') || '%s' || printf('%%.*c', 99999, 'y') AS v", before, key)))
			require.NoError(t, err, name)
			require.Contains(t, text, "[cut: the first 16384 of", name)
			require.NotContains(t, text, key[:3], name)
		}
	}
}

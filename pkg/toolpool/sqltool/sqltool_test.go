package sqltool_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool/postgres"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool/sqlite"
)

func TestQuery(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		s := openSource(t, d, func(c *sqltool.Config) { c.MaxRows = 5; c.Timeout = 2 * time.Second })
		p := poolOf(t, sqltool.QueryTool([]*sqltool.Source{s}))
		first := d.driver.Placeholder(1)
		for _, c := range []struct {
			query  string
			params []any
			want   string
			failed bool
		}{
			{"SELECT id, customer FROM orders WHERE id = " + first, []any{3}, `[{"id":3,"customer":"c3"}]`, false},
			{"select id from orders where customer = " + first + " and id < 10 order by id;", []any{"c1"}, "[{\"id\":1},\n{\"id\":8}]", false},
			{"SELECT id, id FROM orders WHERE id = 4 -- the end; really", nil, `[{"id":4,"id_2":4}]`, false},
			{"/* a; b */ WITH x AS (SELECT ';' AS a) SELECT a FROM x", nil, `[{"a":";"}]`, false},
			{"SELECT id FROM orders WHERE customer = " + first, []any{"x' OR '1'='1"}, `[]`, false},
			{"SELECT state FROM orders WHERE id = " + first, []any{nil}, `[]`, false},
			{"SELECT id FROM orders ORDER BY id", nil, "[cut: only the first 5 rows are shown", false},

			{"SELECT 1; SELECT 2", nil, "only one statement", true},
			{"SELECT 1; DELETE FROM orders", nil, "only one statement", true},
			{"DELETE FROM orders", nil, "must begin with one of SELECT", true},
			{"ATTACH DATABASE '/etc/passwd' AS x", nil, "must begin with one of SELECT", true},
			{"COPY orders TO '/tmp/x'", nil, "must begin with one of SELECT", true},
			{"SET default_transaction_read_only = off", nil, "must begin with one of SELECT", true},
			{"PRAGMA query_only = 0", nil, "must begin with one of SELECT", true},
			{"", nil, "do not fit", true},
			{"-- nothing", nil, "must begin with one of SELECT", true},
			{"SELECT nothing FROM orders", nil, "the database says: ", true},
			{"SELECT id FROM orders WHERE id = " + first, nil, "", true},
		} {
			a := args{"query": c.query}
			if c.params != nil {
				a["params"] = c.params
			}
			r := call(t, p, "sql_query", a)
			assert.Equal(t, c.failed, r.Failed, "%s: %s", c.query, r.Content)
			if c.failed || strings.HasPrefix(c.want, "[cut") {
				assert.Contains(t, r.Content, c.want, c.query)
			} else {
				assert.Equal(t, c.want, r.Content, c.query)
			}
			assert.NotContains(t, r.Content, "dbname", c.query)
		}
		for _, writes := range []string{
			"WITH x AS (SELECT 1) DELETE FROM orders", "WITH x AS (DELETE FROM orders RETURNING id) SELECT * FROM x",
			"WITH x AS (SELECT 1) INSERT INTO items SELECT 1, 'x'", "EXPLAIN ANALYZE DELETE FROM orders", "SELECT id INTO y FROM orders",
		} {
			r := call(t, p, "sql_query", args{"query": writes})
			assert.True(t, r.Failed, "%s: %s", writes, r.Content)
		}
		assert.Equal(t, "[{\"n\":300}]", call(t, p, "sql_query", args{"query": "SELECT COUNT(*) AS n FROM orders"}).Content)
	})
}

func TestEndlessStatementIsStopped(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		s := openSource(t, d, func(c *sqltool.Config) { c.Timeout = 2 * time.Second })
		p := poolOf(t, sqltool.QueryTool([]*sqltool.Source{s}))
		endless := "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
		r := call(t, p, "sql_query", args{"query": endless + "SELECT COUNT(*) FROM n"})
		assert.True(t, r.Failed, r.Content)
		assert.Regexp(t, "stopped|timeout", r.Content)
		patient := poolOf(t, sqltool.QueryTool([]*sqltool.Source{openSource(t, d, nil)}))
		r = call(t, patient, "sql_query", args{"query": endless + "SELECT i FROM n"})
		assert.Contains(t, r.Content, "only the first 200 rows", "the remaining rows are not read")
		assert.Equal(t, `[{"one":1}]`, call(t, p, "sql_query", args{"query": "SELECT 1 AS one"}).Content, "the source still works")
	})
}

func TestSQLiteOpensNoOtherFile(t *testing.T) {
	t.Parallel()
	d := sqliteDatabase(t)
	p := poolOf(t, sqltool.QueryTool([]*sqltool.Source{openSource(t, d, nil)}))
	for _, q := range []string{
		"SELECT load_extension('x')", "SELECT zeroblob(1000000000)", "SELECT * FROM pragma_database_list", "EXPLAIN ATTACH '/etc/passwd' AS x",
		"SELECT randomblob(500000000)",
	} {
		r := call(t, p, "sql_query", args{"query": q})
		assert.True(t, r.Failed, "%s: %.200s", q, r.Content)
	}
}

// A database finds more statements in these texts than a simple scan does. None may run a second one, even if the dsn
// requests the simple protocol, which allows several.
func TestHiddenSecondStatementIsRefused(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		dsns := []string{d.dsn}
		if d.name == "postgres" {
			dsns = append(dsns, d.dsn+" default_query_exec_mode=simple_protocol")
		}
		for _, dsn := range dsns {
			d.dsn = dsn
			p := poolOf(t, sqltool.QueryTool([]*sqltool.Source{openSource(t, d, nil)}))
			for _, first := range []string{
				`SELECT E'\''`, `SELECT $$ ' $$`, "SELECT 1 -- \r", `SELECT 1 /* /* */ ' */`, `SELECT 1 AS [it's]`, "SELECT 1 AS `it's`",
			} {
				for _, begin := range []string{"BEGIN", "BEGIN READ WRITE"} {
					call(t, p, "sql_query", args{"query": first + "; COMMIT; " + begin + "; DELETE FROM orders; COMMIT; --'"})
				}
			}
			one := args{"query": "SELECT id FROM orders WHERE id = " + d.driver.Placeholder(1), "params": []any{3}}
			assert.Equal(t, `[{"id":3}]`, call(t, p, "sql_query", one).Content)
			assert.Equal(t, `[{"n":300}]`, call(t, p, "sql_query", args{"query": "SELECT COUNT(*) AS n FROM orders"}).Content)
		}
	})
}

// A read-only transaction of PostgreSQL does not prevent these effects.
func TestPostgresFunctionsWithSideEffects(t *testing.T) {
	t.Parallel()
	d := postgresDatabase(t)
	if d.dsn == "" {
		t.Skip("PostgreSQL's server is not installed: apt-get install postgresql")
	}
	require.NoError(t, d.write("CREATE SEQUENCE s; GRANT ALL ON s TO PUBLIC"))
	p := poolOf(t, sqltool.QueryTool([]*sqltool.Source{openSource(t, d, nil)}))
	ask := func(query string) toolpool.Result { return call(t, p, "sql_query", args{"query": query}) }
	for _, query := range []string{
		"SELECT pg_read_file('/etc/hostname')", "SELECT pg_ls_dir('/')", "SELECT lo_import('/etc/hostname')", "SELECT lo_export(1, '/tmp/x')",
		"SELECT pg_reload_conf()", "SELECT pg_switch_wal()", "SELECT nextval('s')", "SELECT id FROM orders FOR UPDATE",
		"SELECT query_to_xml('COPY (SELECT 1) TO PROGRAM ''id''', true, true, '')", "SELECT query_to_xml('DELETE FROM orders', true, true, '')",
		"SELECT set_config('transaction_read_only', 'off', true)", "SELECT set_config('role', 'owner', true)",
	} {
		r := ask(query)
		assert.True(t, r.Failed, "%s: %s", query, r.Content)
	}
	assert.False(t, ask("SELECT pg_advisory_lock(7)").Failed)
	assert.Equal(t, `[{"n":0}]`, ask("SELECT COUNT(*) AS n FROM pg_locks WHERE locktype = 'advisory'").Content, "locks are released")
	assert.False(t, ask("SELECT set_config('statement_timeout', '0', false)").Failed)
	assert.Equal(t, `[{"t":"10s"}]`, ask("SELECT current_setting('statement_timeout') AS t").Content, "settings are restored")
}

// Models must not use a role with rights on the server itself. The operator's lookups may use it.
func TestRoleWithMoreRightsIsRefused(t *testing.T) {
	t.Parallel()
	d := postgresDatabase(t)
	if d.dsn == "" {
		t.Skip("PostgreSQL's server is not installed: apt-get install postgresql")
	}
	require.NoError(t, d.write("CREATE ROLE files LOGIN; GRANT pg_read_server_files TO files; CREATE ROLE below LOGIN IN ROLE files; CREATE ROLE copies LOGIN REPLICATION; CREATE ROLE plain LOGIN"))
	as := func(user string) *sqltool.Source {
		d.dsn = strings.TrimSuffix(d.owner, "owner") + user
		return openSource(t, d, lookups)
	}
	for user, want := range map[string]string{
		"owner": "its role is a superuser", "owner options='-c role=pg_monitor'": "its role is a superuser", "copies": "its role may replicate",
		"files": "its role is a member of pg_read_server_files", "below": "its role is a member of pg_read_server_files",
	} {
		s := as(user)
		require.ErrorContains(t, s.Check(t.Context()), want, user)
		p := poolOf(t, append(s.Tools(), sqltool.QueryTool([]*sqltool.Source{s}))...)
		r := call(t, p, "sql_query", args{"query": "SELECT pg_read_file('/etc/hostname')"})
		assert.Equal(t, "Error: sql_query may not use the database shop: "+want+". Its operator must give it a role that may only read, or set query: false", r.Content)
		if user == "owner" {
			assert.Equal(t, `[{"id":1,"customer":"c1"}]`, call(t, p, "order_by_id", args{"id": 1}).Content)
		}
	}
	require.NoError(t, as("plain").Check(t.Context()))
	d.owner = "host=127.0.0.1 port=1 user=owner"
	assert.NoError(t, as("owner").Check(t.Context()), "an unreachable database is checked later")
}

func TestUnreachableDatabaseShowsNoAddress(t *testing.T) {
	t.Parallel()
	for _, d := range []database{
		{driver: postgres.Driver(), dsn: "postgres://anna:hunter2@127.0.0.1:1/secretdb?connect_timeout=1"},
		{driver: sqlite.Driver(), dsn: "sqlite:/no/such/hunter2.db"},
	} {
		p := poolOf(t, sqltool.QueryTool([]*sqltool.Source{openSource(t, d, nil)}))
		r := call(t, p, "sql_query", args{"query": "SELECT 1"})
		assert.Equal(t, "Error: the database shop cannot be reached; go on without it or try again later", r.Content)
	}
	for _, d := range []database{{driver: postgres.Driver(), dsn: "postgres://anna:hunter2@:::bad"}, {driver: sqlite.Driver(), dsn: "sqlite:hunter2?x"}} {
		_, err := sqltool.Open(sqltool.Config{Name: "shop", Driver: d.driver, DSN: d.dsn})
		require.ErrorContains(t, err, "the dsn cannot be read")
		assert.NotContains(t, err.Error(), "hunter2")
	}
}

func lookups(c *sqltool.Config) {
	c.Lookups = []sqltool.Lookup{
		{Name: "order_by_id", Description: "One order.", Key: "id", Query: "SELECT id, customer FROM orders WHERE id IN ({ids})", Window: 100 * time.Millisecond},
		{Name: "items_of", Description: "The items of an order.", Key: "order_id", Query: "SELECT order_id, name FROM items WHERE order_id IN ({ids}) ORDER BY name", Window: 100 * time.Millisecond},
	}
}

// together makes n simultaneous calls and returns the results in order.
func together(t testing.TB, p *toolpool.Pool, n int, name, key string, value func(i int) any) []toolpool.Result {
	t.Helper()
	results := make([]toolpool.Result, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { results[i] = call(t, p, name, args{key: value(i)}) })
	}
	wg.Wait()
	return results
}

func TestSimultaneousLookupsShareOneStatement(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		// The window is long, because a loaded machine may start 200 goroutines slowly.
		s := openSource(t, d, func(c *sqltool.Config) {
			lookups(c)
			for i := range c.Lookups {
				c.Lookups[i].Window = time.Second
			}
		})
		p := poolOf(t, s.Tools()...)
		for i, r := range together(t, p, 200, "order_by_id", "id", func(i int) any { return i }) {
			assert.Equal(t, fmt.Sprintf(`[{"id":%d,"customer":"c%d"}]`, i, i%7), r.Content)
		}
		assert.EqualValues(t, 1, s.Statements(), "200 lookups within one window")

		for i, r := range together(t, p, 20, "items_of", "order_id", func(i int) any { return strconv.Itoa(290 + i) }) {
			want := "[]"
			if i := 290 + i; i < 300 && i%2 == 0 {
				want = fmt.Sprintf("[{\"order_id\":%d,\"name\":\"first\"},\n{\"order_id\":%d,\"name\":\"second\"}]", i, i)
			}
			assert.Equal(t, want, r.Content, "a missing row is an empty list")
			assert.False(t, r.Failed)
		}
		assert.EqualValues(t, 2, s.Statements())
	})
}

func TestBadKeyFailsItsCallerOnly(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		s := openSource(t, d, lookups)
		p := poolOf(t, s.Tools()...)
		keys := []any{1, "not a number", "007", 2}
		r := together(t, p, len(keys), "order_by_id", "id", func(i int) any { return keys[i] })
		assert.Equal(t, `[{"id":1,"customer":"c1"}]`, r[0].Content)
		assert.Equal(t, `[{"id":2,"customer":"c2"}]`, r[3].Content)
		assert.Equal(t, `[{"id":7,"customer":"c0"}]`, r[2].Content, "the database decides which keys are equal")
		if d.name == "postgres" {
			assert.True(t, r[1].Failed)
			assert.Contains(t, r[1].Content, "the database says: ")
		} else {
			assert.Equal(t, "[]", r[1].Content)
		}
	})
}

func TestLeavingCallerDoesNotDisturbOthers(t *testing.T) {
	t.Parallel()
	s := openSource(t, sqliteDatabase(t), lookups)
	tool := s.Tools()[0]
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := tool.Run(ctx, json.RawMessage(`{"id":1}`))
		assert.ErrorIs(t, err, context.Canceled)
	})
	wg.Go(func() {
		text, err := tool.Run(t.Context(), json.RawMessage(`{"id":2}`))
		assert.NoError(t, err)
		assert.Contains(t, text, "c2")
	})
	cancel()
	wg.Wait()
}

func TestInvalidLookups(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"SELECT id FROM orders":                               "exactly one placeholder",
		"SELECT id FROM orders WHERE id IN ({a}) OR x={b}":    "exactly one placeholder",
		"DELETE FROM orders WHERE id IN ({ids})":              "must begin with one of SELECT",
		"SELECT id FROM orders WHERE id IN ({ids}); SELECT 1": "only one statement",
	} {
		_, err := sqltool.Open(sqltool.Config{Name: "shop", Driver: sqlite.Driver(), DSN: "sqlite:x.db", Lookups: []sqltool.Lookup{{Name: "l", Key: "id", Query: query}}})
		assert.ErrorContains(t, err, want)
	}
	s := openSource(t, sqliteDatabase(t), func(c *sqltool.Config) {
		c.Lookups = []sqltool.Lookup{{Name: "l", Description: "x", Key: "id", Query: "SELECT customer FROM orders WHERE id IN ({ids})", Window: 50 * time.Millisecond}}
	})
	p := poolOf(t, s.Tools()...)
	for _, r := range together(t, p, 2, "l", "id", func(i int) any { return i }) {
		assert.Contains(t, r.Content, `selects no column "id"`)
	}
}

// BenchmarkLookups reports how many statements 200 simultaneous lookups need with the default window.
func BenchmarkLookups(b *testing.B) {
	for _, d := range databases(b) {
		b.Run(d.name, func(b *testing.B) {
			if d.dsn == "" {
				b.Skip("PostgreSQL's server is not installed")
			}
			s := openSource(b, d, func(c *sqltool.Config) { lookups(c); c.Lookups[0].Window = 0 })
			before := s.Statements()
			for b.Loop() {
				// A new pool each time changes nothing: lookups share only while they overlap.
				together(b, poolOf(b, s.Tools()...), 200, "order_by_id", "id", func(i int) any { return i })
			}
			b.ReportMetric(float64(s.Statements()-before)/float64(b.N), "statements/200lookups")
		})
	}
}

package sqltool_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool/postgres"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool/sqlite"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if runningPostgres != nil {
			runningPostgres.stop()
		}
		os.Exit(code)
	}))
}

const schema = `
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL, total NUMERIC(10,2), state TEXT);
CREATE TABLE items (order_id INTEGER, name TEXT);
`

// database is a real database with 300 orders; even orders have two items.
type database struct {
	name   string
	driver sqltool.Driver
	dsn    string // of a role that may write to tables only
	owner  string // of a superuser, if the database has superusers
	write  func(statement string) error
}

func databases(t testing.TB) []database {
	t.Helper()
	return []database{sqliteDatabase(t), postgresDatabase(t)}
}

func fill(t testing.TB, write func(string) error) {
	t.Helper()
	require.NoError(t, write(schema))
	var orders, items []string
	for i := range 300 {
		orders = append(orders, fmt.Sprintf("(%d, 'c%d', %d.50, 'open')", i, i%7, i))
		if i%2 == 0 {
			items = append(items, fmt.Sprintf("(%d, 'first'), (%d, 'second')", i, i))
		}
	}
	require.NoError(t, write("INSERT INTO orders VALUES "+strings.Join(orders, ",")))
	require.NoError(t, write("INSERT INTO items VALUES "+strings.Join(items, ",")))
}

func sqliteDatabase(t testing.TB) database {
	t.Helper()
	file := filepath.Join(t.TempDir(), "a b%?.db")
	file = strings.ReplaceAll(file, "?", "")
	write := func(statement string) error {
		db, err := sql.Open("sqlite", "file:"+strings.ReplaceAll(file, "%", "%25"))
		if err != nil {
			return err
		}
		defer db.Close()
		_, err = db.Exec(statement)
		return err
	}
	fill(t, write)
	return database{name: "sqlite", driver: sqlite.Driver(), dsn: "sqlite:" + file, write: write}
}

// postgresServer is a PostgreSQL server for all tests, in a temporary folder, on a Unix socket only.
type postgresServer struct {
	dir       string
	cmd       *exec.Cmd
	databases atomic.Int64
}

var (
	// thePostgres returns nil without the server's programs or without a user to run them.
	thePostgres     = sync.OnceValues(startPostgres)
	runningPostgres *postgresServer // set by startPostgres
)

func startPostgres() (_ *postgresServer, err error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return nil, nil
	}
	bin := filepath.Dir(found[len(found)-1])
	var as *syscall.Credential
	if os.Getuid() == 0 { // the server refuses to run as root
		out, err := exec.Command("id", "-u", "postgres").Output()
		if err != nil {
			return nil, nil
		}
		id, err := strconv.ParseUint(strings.TrimSpace(string(out)), 10, 32)
		if err != nil {
			return nil, err
		}
		as = &syscall.Credential{Uid: uint32(id), Gid: uint32(id), NoSetGroups: true}
	}
	s := &postgresServer{}
	if s.dir, err = os.MkdirTemp("", "pg"); err != nil { // short: a socket's path has at most 107 bytes
		return nil, err
	}
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir, cmd.SysProcAttr = s.dir, &syscall.SysProcAttr{Credential: as}
		return cmd
	}
	if as != nil {
		if err := os.Chown(s.dir, int(as.Uid), int(as.Gid)); err != nil {
			return nil, err
		}
	}
	initdb := command(filepath.Join(bin, "initdb"), "-D", s.dir+"/data", "-U", "owner", "--no-sync", "-A", "trust", "-E", "UTF8", "--locale=C")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	s.cmd = command(filepath.Join(bin, "postgres"), "-D", s.dir+"/data", "-k", s.dir, "-c", "listen_addresses=", "-c", "fsync=off")
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	runningPostgres = s
	return s, nil
}

func (s *postgresServer) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGINT) // fast shutdown
	_ = s.cmd.Wait()
	_ = os.RemoveAll(s.dir)
}

// postgresDatabase creates a database for one test. Without a server its dsn is empty.
func postgresDatabase(t testing.TB) database {
	t.Helper()
	s, err := thePostgres()
	require.NoError(t, err)
	if s == nil {
		return database{name: "postgres"}
	}
	run := func(dsn, statement string) error {
		db, err := sql.Open("pgx", dsn)
		if err != nil {
			return err
		}
		defer db.Close()
		_, err = db.Exec(statement)
		return err
	}
	socket, name := "host="+s.dir, fmt.Sprintf("test%d", s.databases.Add(1))
	require.Eventually(t, func() bool { return run(socket+" dbname=postgres user=owner", "SELECT 1") == nil }, time.Minute, 50*time.Millisecond, "PostgreSQL does not come up")
	require.NoError(t, run(socket+" dbname=postgres user=owner", "CREATE DATABASE "+name))
	as := socket + " dbname=" + name + " user="
	write := func(statement string) error { return run(as+"owner", statement) }
	fill(t, write)
	agent := "agent_" + name
	require.NoError(t, write(fmt.Sprintf("CREATE ROLE %[1]s LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO %[1]s; GRANT ALL ON SCHEMA public TO %[1]s", agent)))
	return database{"postgres", postgres.Driver(), as + agent, as + "owner", write}
}

// each runs a test on each database of this machine.
func each(t *testing.T, test func(t *testing.T, d database)) {
	t.Helper()
	for _, d := range databases(t) {
		t.Run(d.name, func(t *testing.T) {
			if d.dsn == "" {
				t.Skip("PostgreSQL's server is not installed: apt-get install postgresql")
			}
			test(t, d)
		})
	}
}

func openSource(t testing.TB, d database, change func(*sqltool.Config)) *sqltool.Source {
	t.Helper()
	cfg := sqltool.Config{Name: "shop", Driver: d.driver, DSN: d.dsn, Description: "orders and their items"}
	if change != nil {
		change(&cfg)
	}
	s, err := sqltool.Open(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func poolOf(t testing.TB, tools ...toolpool.Tool) *toolpool.Pool {
	t.Helper()
	p, err := toolpool.New(toolpool.Config{})
	require.NoError(t, err)
	for _, tool := range tools {
		require.NoError(t, p.Register(tool))
	}
	return p
}

func call(t testing.TB, p *toolpool.Pool, name string, args map[string]any) toolpool.Result {
	t.Helper()
	text, err := json.Marshal(args)
	require.NoError(t, err)
	r, err := p.Call(t.Context(), toolpool.Call{Name: name, Arguments: string(text)})
	require.NoError(t, err)
	return r
}

type args = map[string]any

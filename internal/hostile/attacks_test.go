package hostile

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/toolset"
	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool/sqlite"
)

const (
	key = "sk-live-4f9a8c21e7b0d63a5"
	// patience limits the time of one attack, also on a busy machine.
	patience = 60 * time.Second
	// room limits the growth of the worker's heap in one attack.
	room = 128 << 20
)

// attack is one call of a tool.
type attack struct {
	name, tool string
	args       any
	want       string // part of the result
}

type object map[string]any

// arguments returns the arguments of the call in the form that a model writes.
func (a attack) arguments(t *testing.T) string {
	t.Helper()
	if raw, ok := a.args.(rawArgs); ok {
		return string(raw)
	}
	text, err := json.Marshal(a.args)
	require.NoError(t, err)
	return string(text)
}

// attacks are calls of the tools of [worker].
func attacks(service string) []attack {
	return []attack{
		{"page of 480 quotes", "http_get", object{"url": service + "/quotes"}, "line"},
		{"page of 400000 elements", "http_get", object{"url": service + "/deep"}, "end"},
		{"page that packs 1 GB", "http_get", object{"url": service + "/bomb"}, "cut"},
		{"private address", "http_get", object{"url": "http://10.0.0.1/"}, "not on the public network"},
		{"metadata service", "http_get", object{"url": "http://169.254.169.254/latest/"}, "not on the public network"},
		{"program without end", "python_eval", object{"code": "while True:\n  pass"}, "stopped"},
		{"program of one long step", "python_eval", object{"code": "x = 3\nfor i in range(40):\n  x = x * x\n"}, "stopped"},
		{"program of 10^9 numbers", "python_eval", object{"code": "len(list(range(1000 * 1000 * 1000)))"}, "stopped"},
		{"program with NUL", "python_eval", object{"code": "1\x002"}, "NUL"},
		{"statement of one long step", "sql_query", object{"query": "SELECT instr(hex(zeroblob(4000000)), hex(zeroblob(2000000))||'1')"}, "stopped"},
		{"statement without end", "sql_query", object{"query": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n) SELECT sum(x) FROM n"}, "stopped"},
		{"statement of large values", "sql_query", object{"query": "SELECT group_concat(hex(zeroblob(7000000))) FROM t, t a, t b"}, "Error"},
		{"pages of a database", "sql_query", object{"query": "SELECT hex(data) FROM sqlite_dbpage"}, "the database says"},
		{"expression of nested repeats", "grep_files", object{"pattern": "(((a{1,30}){1,30}){1,30})", "path": "."}, "regular expression"},
		{"expression over a long line", "grep_files", object{"pattern": "(a|aa)+$", "path": "."}, "match"},
		{"file outside", "read_file", object{"path": "../../etc/passwd"}, "Error"},
		{"parent folder in a path", "weather", object{"city": "../../admin"}, "cannot be part of a path"},
		{"encoded parent folder", "weather", object{"city": "%2e%2e%2fadmin"}, "cannot be part of a path"},
		{"command that prints without end", "shout", object{"word": "yes"}, "stopped"},
		{"option in an argument", "shout", object{"word": "--help"}, `must not begin with "-"`},
	}
}

// allAttacks returns the attacks of all files of this package.
func allAttacks(service string) []attack {
	return slices.Concat(attacks(service), pageAttacks(service), programAttacks(), statementAttacks(), fileAttacks(), serviceAttacks(), mcpAttacks())
}

// worker opens the tools of a worker with an operator's service that repeats its key.
func worker(t *testing.T) (*toolpool.Pool, string) {
	t.Helper()
	service := httptest.NewServer(http.HandlerFunc(serve))
	t.Cleanup(service.Close)
	dir := t.TempDir()
	exe, err := os.Executable()
	require.NoError(t, err)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "shop.db"))
	require.NoError(t, err)
	_, err = db.Exec("CREATE TABLE t (x); INSERT INTO t VALUES (1), (2), (3), (4), (5), (6), (7), (8)")
	require.NoError(t, err)
	require.NoError(t, db.Close())
	require.NoError(t, os.Mkdir(filepath.Join(dir, "files"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "files", "long.txt"), []byte(strings.Repeat("a", 900_000)+"b\n"), 0o600))
	file := filepath.Join(dir, "tools.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`python_eval: true
http_get: {allow_networks: [127.0.0.1]}
sql:
  shop: {dsn: "sqlite:shop.db", timeout: 1s}
commands:
  shout: {description: Shouts., argv: [yes, "{word}"], parameters: {type: object, properties: {word: {type: string}}}, timeout: 1s}
http:
  weather: {description: Weather., url: "`+service.URL+`/weather/{city}", headers: {X-Key: "${WEATHER_KEY}"}, parameters: {type: object, properties: {city: {type: string}}}}
tools:
  python_eval: {timeout: 1s}
  grep_files: {timeout: 2s}
mcpServers:
  odd: {command: "`+exe+`", args: [`+oddServer+`]}
`), 0o600))
	f, err := toolset.Read(file, func(name string) (string, bool) { return key, name == "WEATHER_KEY" })
	require.NoError(t, err)
	set, err := toolset.Open(t.Context(), f, toolset.Options{
		Root: filepath.Join(dir, "files"), Getenv: func(string) string { return "" }, Drivers: map[string]func() sqltool.Driver{"sqlite": sqlite.Driver},
	})
	require.NoError(t, err)
	t.Cleanup(set.Close)
	pool, err := toolpool.New(toolpool.Config{})
	require.NoError(t, err)
	require.NoError(t, set.Register(pool))
	return pool, service.URL
}

func cutAt(s string) string { return s[:min(len(s), 150)] }

func serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	if page, ok := pages[r.URL.Path]; ok {
		page(w)
		return
	}
	switch r.URL.Path {
	case "/quotes":
		_, _ = fmt.Fprint(w, strings.Repeat("<blockquote>", 480)+strings.Repeat("<p>line</p>\n", 9000))
	case "/deep":
		_, _ = fmt.Fprint(w, strings.Repeat("<div>", 400_000)+"end")
	case "/bomb":
		w.Header().Set("Content-Type", "text/plain")
		line := []byte(strings.Repeat("x", 1<<20))
		for range 1 << 10 {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	default:
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprintf(w, "%sbad key %s", strings.Repeat("x", len(r.URL.Path)*10), r.Header.Get("X-Key"))
	}
}

// Every attack ends within limits of time and memory, and leaves no computation behind.
func TestAttacks(t *testing.T) {
	pool, service := worker(t)
	for _, a := range allAttacks(service) {
		t.Run(strings.ReplaceAll(a.name, " ", "_"), func(t *testing.T) {
			args := a.arguments(t)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			r, err := pool.Call(ctx, toolpool.Call{Name: a.tool, Arguments: args})
			require.NoError(t, err)
			runtime.ReadMemStats(&after)
			assert.Contains(t, r.Content, a.want)
			assert.Less(t, time.Since(began), patience)
			assert.Less(t, int64(after.HeapSys)-int64(before.HeapSys), int64(room), "the worker's heap")
			for _, own := range []string{"file://", os.TempDir(), "/proc/", key} {
				if !strings.Contains(args, own) { // an error repeats the arguments
					assert.NotContains(t, r.Content, own, "no paths or keys of the worker")
				}
			}
			t.Log(time.Since(began).Round(time.Millisecond), cutAt(r.Content))
		})
	}
}

// The result of a service that repeats its key contains no piece of the key, at any cut of its answer.
func TestKeysAreNotCutInPieces(t *testing.T) {
	pool, _ := worker(t)
	for length := 70; length < 110; length++ {
		args, err := json.Marshal(object{"city": strings.Repeat("x", length)})
		require.NoError(t, err)
		r, err := pool.Call(t.Context(), toolpool.Call{Name: "weather", Arguments: string(args)})
		require.NoError(t, err)
		require.True(t, r.Failed)
		require.NotContains(t, r.Content, key[:8])
	}
}

// The machine's own services trust callers from its addresses. Models must not reach them under any of these addresses.
func TestOwnAddressesAreNotReached(t *testing.T) {
	pool, _ := worker(t)
	addresses, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, a := range addresses {
		n, ok := a.(*net.IPNet)
		if !ok || n.IP.IsLoopback() || n.IP.IsLinkLocalUnicast() {
			continue
		}
		args, err := json.Marshal(object{"url": "http://" + net.JoinHostPort(n.IP.String(), "9")})
		require.NoError(t, err)
		r, err := pool.Call(t.Context(), toolpool.Call{Name: "http_get", Arguments: string(args)})
		require.NoError(t, err)
		assert.Contains(t, r.Content, "not on the public network", n.IP)
	}
}

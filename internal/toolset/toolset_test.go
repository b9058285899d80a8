package toolset_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/internal/toolset"
	"github.com/batchagent/batchagent/pkg/program"
	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool/postgres"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool/sqlite"
)

func TestMain(m *testing.M) {
	if os.Getenv("TOOLSET_TEST_SERVER") != "" {
		s := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
		mcp.AddTool(s, &mcp.Tool{Name: "greet", Description: "Greets."}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "hello " + os.Getenv("TOKEN")}}}, nil, nil
		})
		_ = s.Run(context.Background(), &mcp.StdioTransport{})
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func lookup(name string) (string, bool) {
	v, ok := map[string]string{
		"TOKEN": "token-31415926", "DB": "postgres://anna:hunter2222@db.invalid/shop", "HOME": "/root",
		"TEST_BINARY": os.Args[0], "BRAVE_API_KEY": "brave-271828",
	}[name]
	return v, ok
}

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tools.yaml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

const everything = `
mcpServers:
  greeter: {command: "${TEST_BINARY}", env: {TOOLSET_TEST_SERVER: "1", TOKEN: "${TOKEN}"}}
  gone: {url: "https://x.invalid", disabled: true}
commands:
  count_words:
    description: Count the words of a text.
    parameters: {type: object, properties: {text: {type: string}}, required: [text]}
    argv: [sh, -c, 'printf %s "$1" | wc -w', sh, "{text}"]
    share: pure
    timeout: 5s
  say_token:
    description: Say it.
    argv: [printenv, TOKEN]
    env: [TOKEN, HOME]
http:
  weather:
    description: The weather.
    parameters: {type: object, properties: {city: {type: string}}}
    url: https://weather.invalid/{city}
    headers: {Authorization: "Bearer ${TOKEN}"}
    share: ttl
    ttl: 5m
sql:
  shop:
    dsn: ${DB}
    lookups:
      order_by_id:
        description: One order.
        batch: {key: id, query: "SELECT id FROM orders WHERE id IN ({ids})"}
web_search: {provider: brave}
http_get: {allow_hosts: ["*.example.com"], allow_networks: [10.0.0.0/8, 192.168.1.1]}
python_eval: true
tools:
  greeter.greet: {share: pure}
  read_file: {max_bytes: 1000, timeout: 3s}
  grep_files: false
`

var drivers = map[string]func() sqltool.Driver{"postgres": postgres.Driver}

func open(t *testing.T, text string) (*toolset.Set, *toolpool.Pool, *bytes.Buffer) {
	t.Helper()
	f, err := toolset.Read(write(t, text), lookup)
	require.NoError(t, err)
	var log bytes.Buffer
	s, err := toolset.Open(t.Context(), f, toolset.Options{Root: t.TempDir(), Drivers: drivers, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	p, err := toolpool.New(toolpool.Config{})
	require.NoError(t, err)
	require.NoError(t, s.Register(p))
	return s, p, &log
}

func call(t *testing.T, p *toolpool.Pool, name, args string) string {
	t.Helper()
	r, err := p.Call(t.Context(), toolpool.Call{Name: toolpool.WireName(name), Arguments: args})
	require.NoError(t, err)
	return r.Content
}

func TestOpenEveryKindOfTool(t *testing.T) {
	t.Parallel()
	s, p, _ := open(t, everything)
	assert.Equal(t, []string{"count_words", "greeter.greet", "http_get", "list_files", "order_by_id", "python_eval", "read_file", "say_token", "sql_query", "weather", "web_search"}, s.Names())
	assert.Equal(t, "3\n", call(t, p, "count_words", `{"text":"one two three"}`))
	assert.Equal(t, "42\n", call(t, p, "python_eval", `{"code":"6 * 7"}`))
	assert.Equal(t, "hello [secret]", call(t, p, "greeter.greet", `{}`), "secrets are struck out of results")
	assert.Equal(t, "[secret]\n", call(t, p, "say_token", ``))
	assert.Contains(t, call(t, p, "sql_query", `{"query":"SELECT 1"}`), "the database shop cannot be reached")
	assert.Contains(t, call(t, p, "http_get", `{"url":"http://example.org"}`), "may not reach the host")
	greet, _ := p.Lookup("greeter__greet")
	assert.Equal(t, toolpool.Pure, greet.Share)
	read, _ := p.Lookup("read_file")
	assert.Equal(t, 1000, read.MaxBytes)
	weather, _ := p.Lookup("weather")
	assert.Equal(t, toolpool.ForTTL, weather.Share)
	assert.Equal(t, "5m0s", weather.TTL.String())
}

func TestReadReportsAllMistakesWithLines(t *testing.T) {
	t.Parallel()
	file := write(t, `mcpServer: {}
mcpServers:
  a__b: {command: x}
  both: {command: x, url: http://x}
  none: {}
  old: {url: http://x, type: sse}
commands:
  read_file: {description: x, argv: [cat]}
  noargs: {description: x}
  bad: {description: x, argv: [cat], parameters: {type: string}, share: maybe, timeout: 5}
http:
  h: {description: x, url: "http://{host}/"}
sql:
  s: {dsn: "mysql://u:hunter2@h/d"}
  q: {dsn: "${NOT_SET}", lookups: {l: {description: x, batch: {key: id, query: "DELETE FROM x WHERE id IN ({ids})"}}}}
web_search: {provider: gogle}
http_get: {allow_networks: [everywhere], allow_hosts: ["*example.com", "https://a.example", "b.example:80", "", "*.", "ok.example", "::1", "*.ok.example"]}
python_eval: maybe
tools:
  read_file: {share: ttl}
  x: {shares: pure}
`)
	_, err := toolset.Read(file, lookup)
	require.Error(t, err)
	for _, want := range []string{
		`:1: field mcpServer: unknown field; the nearest known name is "mcpServers"`,
		":3: field mcpServers.a__b: a server's name has",
		":4: field mcpServers.both: a server has a command or a url, not both",
		":5: field mcpServers.none: a server needs a command to start or a url to reach",
		":6: field mcpServers.old.type: must be stdio or http",
		":8: field commands.read_file: is the name of a built-in tool",
		":9: field commands.noargs: argv is missing",
		":10: field commands.bad.parameters: must be a JSON Schema with type: object",
		":10: field commands.bad.share: must be pure, ttl, inflight or effect",
		":10: field commands.bad.timeout: must be a time with its unit",
		":12: field http.h: http tool h: the url's host must not hold a placeholder",
		":14: field sql.s.dsn: must begin with postgres:// or sqlite:",
		":15: field sql.q.dsn: the environment variable NOT_SET is not set",
		":15: field sql.q.lookups.l: lookup l: the statement must begin with one of SELECT",
		":16: field web_search.provider: must be one of brave, serpapi, tavily",
		`:17: field http_get.allow_networks[0]: must be a network such as 10.1.0.0/16 or an address, not "everywhere"`,
		":17: field http_get.allow_hosts[0]: must be a host such as example.com, or *.example.com for all below it",
		":17: field http_get.allow_hosts[1]: must be a host", ":17: field http_get.allow_hosts[2]: must be a host",
		":17: field http_get.allow_hosts[3]: must be a host", ":17: field http_get.allow_hosts[4]: must be a host",
		":18: field python_eval: must be true or false",
		":20: field tools.read_file: share: ttl needs a ttl, such as 60s",
		`:21: field tools.x.shares: unknown field; the nearest known name is "share"`,
	} {
		assert.Contains(t, err.Error(), want)
	}
	assert.NotContains(t, err.Error(), "hunter2")
	assert.NotContains(t, err.Error(), "allow_hosts[5]")
	_, err = toolset.Read(write(t, "http_get: {allow_hosts: []}"), lookup)
	assert.ErrorContains(t, err, "field http_get.allow_hosts: is empty: name the hosts, or set http_get: false")
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"tools: {read_fil: {share: pure}}":                                                                    `:1: field tools.read_fil: there is no such tool; the nearest name is "read_file"`,
		"mcpServers: {x: {command: no-such-program, args: [\"${TOKEN}\"]}}":                                   "MCP server x: start no-such-program",
		"mcpServers: {x: {command: sh, args: [-c, \"echo bad key $K >&2; exit 1\"], env: {K: \"${TOKEN}\"}}}": "it said: bad key [secret]",
		"commands: {c: {description: x, argv: [no-such-program]}}":                                            `there is no program "no-such-program"`,
		"sql: {s: {dsn: \"sqlite:x.db\"}}":                                                                    "this program was built without databases",
	} {
		f, err := toolset.Read(write(t, text), lookup)
		require.NoError(t, err, text)
		_, err = toolset.Open(t.Context(), f, toolset.Options{Root: t.TempDir(), Drivers: drivers})
		assert.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "31415926")
	}
	_, err := toolset.Read("/no/such/tools.yaml", lookup)
	assert.ErrorContains(t, err, "/no/such/tools.yaml")
}

func TestOpenRefusesPowerfulDatabaseRole(t *testing.T) {
	t.Parallel()
	strong := map[string]func() sqltool.Driver{"sqlite": func() sqltool.Driver {
		d := sqlite.Driver()
		d.Powers = "SELECT 'its role is a superuser'"
		return d
	}}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x.db"), nil, 0o600))
	for text, want := range map[string]string{
		"sql: {shop: {dsn: \"sqlite:" + dir + "/x.db\"}}":               "tools.yaml: sql.shop: sql_query may not use the database shop: its role is a superuser",
		"sql: {shop: {dsn: \"sqlite:" + dir + "/x.db\", query: false}}": "",
		"sql: {shop: {dsn: \"sqlite:" + dir + "/none.db\"}}":            "",
	} {
		f, err := toolset.Read(write(t, text), lookup)
		require.NoError(t, err, text)
		s, err := toolset.Open(t.Context(), f, toolset.Options{Root: dir, Drivers: strong})
		if want != "" {
			assert.ErrorContains(t, err, want)
			continue
		}
		require.NoError(t, err, "%s: an unreachable database keeps no worker from starting", text)
		s.Close()
	}
}

func TestZeroFileOffersBuiltInTools(t *testing.T) {
	t.Parallel()
	keys := func(name string) string { v, _ := lookup(name); return v }
	s, err := toolset.Open(t.Context(), &toolset.File{}, toolset.Options{Root: t.TempDir(), Getenv: keys})
	require.NoError(t, err)
	defer s.Close()
	assert.Equal(t, []string{"grep_files", "http_get", "list_files", "read_file", "web_search"}, s.Names())
	_, err = toolset.Open(t.Context(), &toolset.File{}, toolset.Options{Root: "/no/such/folder"})
	assert.ErrorContains(t, err, "--tools-root")
}

func TestMissing(t *testing.T) {
	t.Parallel()
	offered := []string{"read_file", "files__read", "files__read"}
	require.NoError(t, toolset.Missing([]string{"read_file", "files.read", "files__read"}, offered))
	err := toolset.Missing([]string{"web_search", "read_file", "python_eval"}, offered)
	assert.EqualError(t, err, "the spec asks for the tool web_search, python_eval; there are: files.read, read_file"+
		"; web_search needs a key in BRAVE_API_KEY, SERPAPI_API_KEY, TAVILY_API_KEY where the worker runs"+
		"; python_eval is off unless the worker's tools.yaml says python_eval: true")
	assert.True(t, strings.HasSuffix(toolset.Missing([]string{"x"}, nil).Error(), "there are: none"))
}

func TestPrograms(t *testing.T) {
	t.Parallel()
	s, _, _ := open(t, `programs:
  counter:
    argv: [python3, agent.py, "{task}"]
    env: {KEY: "${TOKEN}"}
    timeout: 10m
    memory_mb: 2048
    isolation: bubblewrap
    network: true
    read: [/opt/models]
    run: [[git, init]]
  many: {argv: [serve], serve: true}
  boxed: {argv: [x], isolation: docker, image: "agents:1"}
`)
	require.Len(t, s.Programs, 3)
	assert.Equal(t, program.Program{
		Name: "counter", Argv: []string{"python3", "agent.py", "{task}"}, Env: []string{"KEY=token-31415926"}, Timeout: 10 * time.Minute,
		Memory: 2 << 30, Isolation: program.Bubblewrap, Network: true, Read: []string{"/opt/models"}, SetUp: [][]string{{"git", "init"}},
	}, s.Programs[0])
	assert.True(t, s.Programs[1].Serve)
	assert.Equal(t, program.Program{Name: "boxed", Argv: []string{"x"}, Isolation: program.Docker, Image: "agents:1"}, s.Programs[2])

	s, _, _ = open(t, "files: results\n")
	assert.True(t, filepath.IsAbs(s.Files))
	assert.Equal(t, "results", filepath.Base(s.Files))
	s, _, _ = open(t, "files: s3://bucket/prefix/\n")
	assert.Equal(t, "s3://bucket/prefix", s.Files)
	_, err := toolset.Read(write(t, "files: s3://bucket\n"), lookup)
	require.ErrorContains(t, err, ":1: field files: ")

	for text, want := range map[string]string{
		"a: {}":                             "argv is missing",
		"\"a b\": {argv: [x]}":              "a program's name has",
		"a: {argv: [x], argv2: [y]}":        "argv2",
		"a: {argv: [x], isolation: podman}": "must be none, bubblewrap or docker",
		"a: {argv: [x], network: true}":     "belongs to isolation: bubblewrap or docker",
		"a: {argv: [x], isolation: docker}": "needs image",
		"a: {argv: [x], image: y}":          "no other isolation has one",
		"a: {argv: [x], isolation: docker, image: \"--privileged\"}": "does not begin with -",
		"a: {argv: [x], isolation: docker, image: y, serve: true}":   "one process for each job",
		"a: {argv: [x], memory_mb: 1}":                               "must be at least 16",
		"a: {argv: [x], serve: true, timeout: 1s}":                   "one process for each job",
		"a: {argv: [x], serve: true, run: [[y]]}":                    "one process for each job",
	} {
		_, err := toolset.Read(write(t, "programs:\n  "+text+"\n"), lookup)
		require.ErrorContains(t, err, want, text)
	}
}

func TestLocalServicesKeepTheirVersionOnAnotherPort(t *testing.T) {
	version := func(service string) string {
		s, _, _ := open(t, "http:\n  look: {description: Looks., url: \""+service+"\", parameters: {type: object, properties: {a: {type: string}}}}\n")
		i := slices.IndexFunc(s.Tools, func(t toolpool.Tool) bool { return t.Name == "look" })
		return s.Tools[i].Version
	}
	local := version("http://127.0.0.1:4711/call/{a}")
	assert.Equal(t, local, version("http://127.0.0.1:4712/call/{a}"), "a program listens on another port in each run")
	assert.NotEqual(t, local, version("http://127.0.0.1:4712/other/{a}"))
	assert.NotEqual(t, version("http://10.0.0.7:4711/call/{a}"), version("http://10.0.0.7:4712/call/{a}"))
}

package hostile

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/client"
	"github.com/batchagent/batchagent/internal/toolset"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/bedrock"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/builtin"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool/sqlite"
)

const (
	// longKey has characters that encodings change.
	longKey = "sk-live/4f9a8+c21e=7b0d6&3a5"
	// tooLong is the place that shows no text around its cut, not even a mark of a key.
	tooLong = "line that is too long to search"
	// leakyServer is the first argument that starts this test binary as an MCP server that repeats the key.
	leakyServer = "leaky-mcp-server"
)

// forms are texts that contain the key.
var forms = []string{
	longKey,
	base64.StdEncoding.EncodeToString([]byte("user:" + longKey + ":")),
	url.QueryEscape(longKey),
	`sk-live\/4f9a8\u002bc21e\u003d7b0d6\u00263a5`,
}

// leak returns a text with a form after some bytes of filler.
func leak(before, form int) string {
	return strings.Repeat("x", before) + " " + forms[form] + " " + strings.Repeat("y", 3000)
}

// place is a place that shows at most a number of bytes of a text from elsewhere. show makes it show [leak] and returns all that it
// shows.
type place struct {
	name string
	cut  int
	step int // between the tested offsets; a larger one for slow places
	show func(t *testing.T, before, form int) string
}

// TestKeysAtEveryCut drives each place that cuts a text with a key at each offset around the cut. No piece of a key remains.
func TestKeysAtEveryCut(t *testing.T) {
	for _, p := range append(toolPlaces(t), modelPlaces(t)...) {
		t.Run(strings.ReplaceAll(p.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			shown := false
			for form, text := range forms {
				for before := p.cut - len(text) - 80; before <= p.cut+2; before += p.step {
					got := p.show(t, max(before, 0), form)
					shown = shown || strings.Contains(got, "[secret]") || strings.Contains(got, `\[secret`)
					for i := range len(text) - 8 {
						require.NotContains(t, got, text[i:i+8], "form %d after %d bytes", form, before)
					}
				}
			}
			assert.Equal(t, p.name != tooLong, shown, "otherwise no offset was before the cut")
		})
	}
}

// toolPlaces are the tools of a worker.
func toolPlaces(t *testing.T) []place {
	dir := t.TempDir()
	service := httptest.NewServer(http.HandlerFunc(serveLeaks))
	t.Cleanup(service.Close)
	provider := builtin.SearchProviders[0].URL
	builtin.SearchProviders[0].URL = service.URL + "/search"
	t.Cleanup(func() { builtin.SearchProviders[0].URL = provider })
	leaks, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "leaks.db"))
	require.NoError(t, err)
	_, err = leaks.Exec("CREATE TABLE keys (form INTEGER, text TEXT)")
	require.NoError(t, err)
	for i, f := range forms {
		_, err = leaks.Exec("INSERT INTO keys VALUES (?1, ?2)", i, f)
		require.NoError(t, err)
		for _, n := range []int{300, 256 << 10, 1 << 20} {
			for before := n - len(f) - 80; before <= n+2; before++ {
				if n > 300 && before%7 > 0 {
					continue
				}
				name := filepath.Join(dir, fmt.Sprintf("%d-%d.txt", before, i))
				require.NoError(t, os.WriteFile(name, []byte(leak(before, i)), 0o600))
			}
		}
	}
	require.NoError(t, leaks.Close())
	exe, err := os.Executable()
	require.NoError(t, err)
	file := filepath.Join(dir, "tools.yaml")
	echo := `printf "%0$1d %s %03000d" 0 "$2" 0`
	parameters := `parameters: {type: object, properties: {before: {type: integer}, form: {type: integer}, text: {type: string}}}`
	require.NoError(t, os.WriteFile(file, []byte(`http_get: {allow_networks: [127.0.0.1]}
sql:
  leaks: {dsn: "sqlite:leaks.db"}
commands:
  out: {description: Prints., argv: [sh, -c, '`+echo+`', sh, "{before}", "{text}"], env: [KEY], `+parameters+`, max_bytes: 200}
  complain: {description: Fails., argv: [sh, -c, '{ `+echo+`; } >&2; exit 1', sh, "{before}", "{text}"], `+parameters+`}
  fail: {description: Fails in silence., argv: [sh, -c, '`+echo+`; exit 1', sh, "{before}", "{text}"], `+parameters+`, max_bytes: 200}
http:
  answer: {description: Answers., url: "`+service.URL+`/200/{before}/{form}", headers: {X-Key: "${KEY}"}, `+parameters+`, max_bytes: 200}
  refuse: {description: Refuses., url: "`+service.URL+`/403/{before}/{form}", `+parameters+`}
tools:
  list_files: {max_bytes: 200}
mcpServers:
  leaky: {command: "`+exe+`", args: [`+leakyServer+`]}
`), 0o600))
	env := map[string]string{"KEY": longKey, "BRAVE_API_KEY": "brave-key-0123456789"}
	f, err := toolset.Read(file, func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	require.NoError(t, err)
	var log syncBuffer
	set, err := toolset.Open(t.Context(), f, toolset.Options{
		Root: dir, Getenv: func(name string) string { return env[name] }, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Drivers: map[string]func() sqltool.Driver{"sqlite": sqlite.Driver},
	})
	require.NoError(t, err)
	t.Cleanup(set.Close)
	pool, err := toolpool.New(toolpool.Config{})
	require.NoError(t, err)
	require.NoError(t, set.Register(pool))
	call := func(t *testing.T, tool string, args object) string {
		t.Helper()
		text, err := json.Marshal(args)
		require.NoError(t, err)
		r, err := pool.Call(t.Context(), toolpool.Call{Name: tool, Arguments: string(text)})
		require.NoError(t, err)
		return r.Content
	}
	by := func(tool string) func(*testing.T, int, int) string {
		return func(t *testing.T, before, form int) string {
			return call(t, tool, object{"before": before, "form": form, "text": forms[form]})
		}
	}
	page := func(kind string) func(*testing.T, int, int) string {
		return func(t *testing.T, before, form int) string {
			return call(t, "http_get", object{"url": fmt.Sprintf("%s/200/%d/%d?kind=%s", service.URL, before, form, url.QueryEscape(kind))})
		}
	}
	query := func(text string) func(*testing.T, int, int) string {
		return func(t *testing.T, before, form int) string {
			return call(t, "sql_query", object{"query": fmt.Sprintf(text, before, form)})
		}
	}
	return []place{
		{"output of a command", 200, 1, by("out")},
		{"complaint of a command", 2048, 1, by("complain")},
		{"output of a failed command", 200, 1, by("fail")},
		{"answer of a service", 200, 1, by("answer")},
		{"refusal of a service", 1000, 1, by("refuse")},
		{"page", 128 << 10, 5, page("text/plain")},
		{"page that ends behind the limit", 2 << 20, 13, page("hidden")},
		{"page in UTF-16", 2 << 20, 29, page("UTF-16")},
		{"page of HTML", 128 << 10, 13, page("text/html")},
		{"kind of a page", 80, 1, page("header")},
		{"snippet of a search", 500, 1, func(t *testing.T, before, form int) string {
			return call(t, "web_search", object{"query": fmt.Sprintf("%d/%d", before, form)})
		}},
		{"line of a search in files", 300, 1, func(t *testing.T, before, form int) string {
			return call(t, "grep_files", object{"pattern": "x", "path": fmt.Sprintf("%d-%d.txt", before, form)})
		}},
		{tooLong, 1 << 20, 1, func(t *testing.T, before, form int) string {
			if before%7 > 0 {
				return ""
			}
			return call(t, "grep_files", object{"pattern": "sk-live|" + forms[form][:6], "path": fmt.Sprintf("%d-%d.txt", before, form)})
		}},
		{"part of a file", 256 << 10, 1, func(t *testing.T, before, form int) string {
			if before%7 > 0 {
				return ""
			}
			return call(t, "read_file", object{"path": fmt.Sprintf("%d-%d.txt", before, form)})
		}},
		{"value of a database", 16 << 10, 3, query("SELECT printf('%%.*c', %d, 'x') || ' ' || text || ' ' || printf('%%.*c', 3000, 'y') AS v FROM keys WHERE form = %d")},
		{"name of a column", 1 << 10, 1, func(t *testing.T, before, form int) string {
			return call(t, "sql_query", object{"query": `SELECT 1 AS "` + leak(before, form) + `"`})
		}},
		{"result of many rows", 64 << 10, 7, query("SELECT printf('%%.*c', 1000, 'z'), printf('%%.*c', %d - 65000, 'x') || ' ' || text AS v FROM keys, json_each('[1,2,3,4,5]') WHERE form = %d")},
		{"text of an MCP server", 64 << 10, 3, by("leaky__text")},
		{"error of an MCP server", 64 << 10, 3, by("leaky__error")},
		{"refusal of an MCP server", 64 << 10, 3, by("leaky__refuse")},
		{"log line of an MCP server", 1000, 1, func(t *testing.T, before, form int) string {
			_ = by("leaky__log")(t, before, form)
			return log.take()
		}},
	}
}

// serveLeaks serves /status/before/form, and results of a search for before/form.
func serveLeaks(w http.ResponseWriter, r *http.Request) {
	path := strings.Split(r.URL.Path, "/")
	if r.URL.Path == "/search" {
		path = strings.Split("//"+r.URL.Query().Get("q"), "/")
	}
	before, _ := strconv.Atoi(path[2])
	form, _ := strconv.Atoi(path[3])
	text := leak(before, form)
	switch kind := r.URL.Query().Get("kind"); {
	case r.URL.Path == "/search":
		answer, _ := json.Marshal(object{"web": object{"results": []any{object{"title": "t", "url": "u", "description": text}}}}) //nolint:errchkjson // strings
		_, _ = w.Write(answer)
	case kind == "hidden": // the text behind the comment is short
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, "<!--%s-->x %s", text[:max(0, before-8)], text[before+1:])
	case kind == "UTF-16":
		w.Header().Set("Content-Type", "text/html; charset=utf-16le")
		_ = binary.Write(w, binary.LittleEndian, utf16.Encode([]rune(fmt.Sprintf("<!--%s-->x %s", text[:max(0, before-8)], text[before+1:]))))
	case kind == "header":
		w.Header().Set("Content-Type", "image/"+strings.ReplaceAll(text[:before+1+len(forms[form])], " ", "x"))
	case kind != "":
		w.Header().Set("Content-Type", kind)
		_, _ = fmt.Fprint(w, text)
	default:
		status, _ := strconv.Atoi(path[1])
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, text)
	}
}

// modelPlaces are the backends, and the client of the API.
func modelPlaces(t *testing.T) []place {
	var mu sync.Mutex
	var body func() string
	status := http.StatusBadRequest
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, body())
	}))
	t.Cleanup(server.Close)
	getenv := func(name string) string {
		switch name {
		case "AWS_BEARER_TOKEN_BEDROCK": // only over HTTPS
			return ""
		}
		return longKey
	}
	address := strings.TrimPrefix(server.URL, "http://")
	t.Setenv("AWS_REGION", "eu-west-1")
	backends := openBackends(t, address)
	var err error
	backends["Bedrock"], err = bedrock.New(t.Context(), bedrock.Config{URL: "bedrock://eu-west-1/m", Endpoint: server.URL, Getenv: getenv})
	require.NoError(t, err)
	api, err := client.New(server.URL, longKey, nil)
	require.NoError(t, err)

	var all []place
	message := func(cut int, what, format string, ask func(t *testing.T) error) {
		all = append(all, place{what, cut, 3, func(t *testing.T, before, form int) string {
			mu.Lock()
			defer mu.Unlock()
			body = func() string {
				text, _ := json.Marshal(leak(before, form)) //nolint:errchkjson // a string
				if form == 3 {                              // it is escaped already
					text = []byte(`"` + leak(before, form) + `"`)
				}
				return fmt.Sprintf(format, text)
			}
			return ask(t).Error()
		}})
	}
	t.Cleanup(func() { assert.NoError(t, backends["Bedrock"].Close()) })
	for name, b := range backends {
		ask := func(t *testing.T) error {
			_, err := b.Generate(t.Context(), &backend.Request{Model: "m", Messages: []backend.Message{{Role: "user", Content: "hi"}}}, backend.Observer{})
			require.Error(t, err)
			return err
		}
		message(500, "error of "+name, `{"error":{"message":%[1]s,"type":"invalid_request_error"},"message":%[1]s}`, ask)
	}
	message(1000, "error of the API", `{"detail":%s}`, func(t *testing.T) error {
		_, err := api.Status(t.Context(), batch.ID("b_1"))
		require.Error(t, err)
		return err
	})
	return all
}

// serveLeaky is an MCP server that repeats the key.
func serveLeaky() {
	say := func(id json.RawMessage, format string, values ...any) {
		fmt.Printf(`{"jsonrpc":"2.0","id":%s,`+format+"}\n", append([]any{id}, values...)...)
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var m struct {
			ID     json.RawMessage
			Method string
			Params struct {
				Name      string
				Arguments struct{ Before, Form int }
			}
		}
		if json.Unmarshal(in.Bytes(), &m) != nil || len(m.ID) == 0 {
			continue
		}
		text, _ := json.Marshal(leak(m.Params.Arguments.Before, m.Params.Arguments.Form)) //nolint:errchkjson // a string
		switch m.Method {
		case "initialize":
			say(m.ID, `"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"leaky","version":"1"}}`)
		case "tools/list":
			var tools []string
			for _, name := range []string{"text", "error", "refuse", "log"} {
				tools = append(tools, fmt.Sprintf(`{"name":%q,"inputSchema":{"type":"object"}}`, name))
			}
			say(m.ID, `"result":{"tools":[%s]}`, strings.Join(tools, ","))
		case "tools/call":
			switch m.Params.Name {
			case "refuse":
				say(m.ID, `"error":{"code":1,"message":%s}`, text)
			case "log":
				fmt.Fprintln(os.Stderr, leak(m.Params.Arguments.Before, m.Params.Arguments.Form))
				say(m.ID, `"result":{"content":[]}`)
			default:
				say(m.ID, `"result":{"content":[{"type":"text","text":%s}],"isError":%t}`, text, m.Params.Name == "error")
			}
		default:
			say(m.ID, `"result":{}`)
		}
	}
}

// syncBuffer is a buffer for a logger.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.buf.Reset()
	return b.buf.String()
}

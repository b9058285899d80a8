package mcptool_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/mcptool"
)

const serverMode = "MCPTOOL_TEST_SERVER"

func TestMain(m *testing.M) {
	switch os.Getenv(serverMode) {
	case "serve":
		if err := testServer().Run(context.Background(), &mcp.StdioTransport{}); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	case "die":
		fmt.Fprintln(os.Stderr, "no licence found")
		os.Exit(3)
	}
	goleak.VerifyTestMain(m)
}

type textArgs struct {
	Text string `json:"text"`
}

// testServer returns an MCP server with a tool for every kind of failure.
func testServer() *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	add := func(name string, annotations *mcp.ToolAnnotations, run func(ctx context.Context, text string) (string, error)) {
		mcp.AddTool(s, &mcp.Tool{Name: name, Description: "Does " + name + ".", Annotations: annotations},
			func(ctx context.Context, _ *mcp.CallToolRequest, a textArgs) (*mcp.CallToolResult, any, error) {
				text, err := run(ctx, a.Text)
				if err != nil {
					return nil, nil, err
				}
				return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}, &mcp.ImageContent{MIMEType: "image/png", Data: []byte("xx")}}}, nil, nil
			})
	}
	add("echo", &mcp.ToolAnnotations{ReadOnlyHint: true}, func(_ context.Context, text string) (string, error) { return "echo " + text, nil })
	add("fail", nil, func(context.Context, string) (string, error) { return "", fmt.Errorf("the disk is full") })
	add("pid", nil, func(context.Context, string) (string, error) { return strconv.Itoa(os.Getpid()), nil })
	add("env", nil, func(context.Context, string) (string, error) { return strings.Join(os.Environ(), "\n"), nil })
	add("crash", nil, func(context.Context, string) (string, error) { os.Exit(1); return "", nil })
	add("wipe.all", &mcp.ToolAnnotations{}, func(context.Context, string) (string, error) { return "wiped", nil })
	add("hang", nil, func(ctx context.Context, file string) (string, error) {
		if err := os.WriteFile(file+".began", nil, 0o600); err != nil {
			return "", err
		}
		<-ctx.Done() // the client's cancellation arrives here
		return "", os.WriteFile(file, []byte("cancelled"), 0o600)
	})
	add("big", nil, func(context.Context, string) (string, error) { return strings.Repeat("x", 20<<20), nil })
	add("child", nil, func(context.Context, string) (string, error) {
		cmd := exec.Command("sleep", "1000")
		if err := cmd.Start(); err != nil {
			return "", err
		}
		return strconv.Itoa(cmd.Process.Pid), nil
	})
	return s
}

func stdioServer() mcptool.Server {
	exe, _ := os.Executable()
	return mcptool.Server{Name: "test", Command: exe, Env: []string{serverMode + "=serve", "GIVEN=yes"}}
}

func connect(t *testing.T, cfg mcptool.Server) *toolpool.Pool {
	t.Helper()
	c, err := mcptool.Connect(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	p, err := toolpool.New(toolpool.Config{})
	require.NoError(t, err)
	for _, tool := range c.Tools() {
		require.NoError(t, p.Register(tool))
	}
	return p
}

func call(t *testing.T, p *toolpool.Pool, name, text string) toolpool.Result {
	t.Helper()
	args, err := json.Marshal(textArgs{text})
	require.NoError(t, err)
	r, err := p.Call(t.Context(), toolpool.Call{Name: toolpool.WireName(name), Arguments: string(args), Timeout: 20 * time.Second})
	require.NoError(t, err)
	return r
}

func TestToolsOfAServerProcess(t *testing.T) {
	t.Setenv("BATCHAGENT_API_KEY", "secret-31415")
	p := connect(t, stdioServer())
	assert.Equal(t, []string{"test__big", "test__child", "test__crash", "test__echo", "test__env", "test__fail", "test__hang", "test__pid", toolpool.WireName("test.wipe.all")}, p.Names())
	echo, _ := p.Lookup("test__echo")
	assert.JSONEq(t, `{"type":"object","properties":{"text":{"type":"string"}},"required":["text"],"additionalProperties":false}`, string(echo.Parameters))
	assert.Equal(t, "Does echo.", echo.Description)
	assert.Equal(t, toolpool.Inflight, echo.Share)
	wipe, _ := p.Lookup(toolpool.WireName("test.wipe.all"))
	assert.Equal(t, toolpool.Effect, wipe.Share)

	assert.Equal(t, "echo hi\n[an image, image/png, 2 bytes: it cannot be shown]", call(t, p, "test.echo", "hi").Content)
	r := call(t, p, "test.fail", "")
	assert.True(t, r.Failed)
	assert.Contains(t, r.Content, "the disk is full")
	r, err := p.Call(t.Context(), toolpool.Call{Name: "test__echo", Arguments: `{"txt":1}`})
	require.NoError(t, err)
	assert.Contains(t, r.Content, `missing "text"`)
	env := call(t, p, "test.env", "").Content
	assert.Contains(t, env, "GIVEN=yes")
	assert.NotContains(t, env, "secret-31415", "the server does not get the worker's environment")
}

func TestEndedServerIsRestarted(t *testing.T) {
	t.Parallel()
	p := connect(t, stdioServer())
	first := call(t, p, "test.pid", "").Content
	for range 2 {
		r := call(t, p, "test.crash", "")
		assert.True(t, r.Failed)
		assert.Contains(t, r.Content, "failed during the call and is restarted")
		second := call(t, p, "test.pid", "")
		assert.False(t, second.Failed, second.Content)
		assert.NotEqual(t, first, second.Content)
		first = second.Content
	}
}

func TestCallIsCancelledWithItsCaller(t *testing.T) {
	t.Parallel()
	p := connect(t, stdioServer())
	file := t.TempDir() + "/note"
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := p.Call(ctx, toolpool.Call{Name: "test__hang", Arguments: fmt.Sprintf(`{"text":%q}`, file)})
		assert.ErrorIs(t, err, context.Canceled)
	})
	require.Eventually(t, func() bool { _, err := os.Stat(file + ".began"); return err == nil }, 5*time.Second, 5*time.Millisecond)
	call(t, p, "test.echo", "the server works beside the hanging call")
	cancel()
	wg.Wait()
	assert.Eventually(t, func() bool { _, err := os.Stat(file); return err == nil }, 5*time.Second, 10*time.Millisecond, "the server gets the cancellation")
	assert.Contains(t, call(t, p, "test.echo", "hi").Content, "echo hi")
}

func TestTooLongMessageIsRefused(t *testing.T) {
	t.Parallel()
	p := connect(t, stdioServer())
	r := call(t, p, "test.big", "")
	assert.True(t, r.Failed)
	assert.Less(t, len(r.Content), 1000)
	assert.Contains(t, call(t, p, "test.echo", "hi").Content, "echo hi", "the server is restarted")
}

func TestTooLongAnswerOverHTTPIsRefused(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"application/json; charset=utf-8", "text/event-stream"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := testServer()
			handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s }, &mcp.StreamableHTTPOptions{JSONResponse: kind != "text/event-stream"})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				handler.ServeHTTP(&kindWriter{w, kind}, r)
			}))
			t.Cleanup(server.Close)
			t.Cleanup(func() {
				for session := range s.Sessions() {
					_ = session.Close()
				}
			})
			p := connect(t, mcptool.Server{Name: "test", URL: server.URL})
			r := call(t, p, "test.big", "")
			assert.True(t, r.Failed, "%.200s", r.Content)
			assert.Contains(t, call(t, p, "test.echo", "hi").Content, "echo hi", "the server is reachable again")
		})
	}
}

// kindWriter sends a media type in another spelling.
type kindWriter struct {
	http.ResponseWriter
	kind string
}

func (w *kindWriter) WriteHeader(status int) {
	w.respell()
	w.ResponseWriter.WriteHeader(status)
}

func (w *kindWriter) Write(b []byte) (int, error) {
	w.respell()
	return w.ResponseWriter.Write(b)
}

func (w *kindWriter) respell() {
	if base, _, _ := strings.Cut(w.kind, ";"); w.Header().Get("Content-Type") == base {
		w.Header().Set("Content-Type", w.kind)
	}
}

func (w *kindWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestCloseLeavesNoProcess(t *testing.T) {
	t.Parallel()
	c, err := mcptool.Connect(t.Context(), stdioServer())
	require.NoError(t, err)
	p, err := toolpool.New(toolpool.Config{})
	require.NoError(t, err)
	for _, tool := range c.Tools() {
		require.NoError(t, p.Register(tool))
	}
	for _, name := range []string{"test.pid", "test.child"} {
		text, _, _ := strings.Cut(call(t, p, name, "").Content, "\n")
		pid, err := strconv.Atoi(text)
		require.NoError(t, err)
		require.NoError(t, syscall.Kill(pid, 0))
		defer assert.Eventually(t, func() bool { return gone(pid) }, 5*time.Second, 10*time.Millisecond, name)
	}
	c.Close()
	assert.Contains(t, call(t, p, "test.echo", "hi").Content, "the server test is unreachable")
	c.Close()
}

// gone reports whether a process has ended. A zombie counts as ended.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func TestFailingStart(t *testing.T) {
	t.Parallel()
	dies := stdioServer()
	dies.Env = []string{serverMode + "=die"}
	_, err := mcptool.Connect(t.Context(), dies)
	require.ErrorContains(t, err, "MCP server test: ")
	assert.ErrorContains(t, err, "no licence found")
	_, err = mcptool.Connect(t.Context(), mcptool.Server{Name: "none", Command: "no-such-program"})
	require.ErrorContains(t, err, "MCP server none: start no-such-program")
	began := time.Now()
	_, err = mcptool.Connect(t.Context(), mcptool.Server{Name: "mute", Command: "sleep", Args: []string{"1000"}, StartTimeout: 200 * time.Millisecond})
	require.ErrorContains(t, err, "MCP server mute: ")
	assert.Less(t, time.Since(began), 20*time.Second)
}

func TestToolsOfAServerOverHTTP(t *testing.T) {
	t.Parallel()
	s := testServer()
	var mu sync.Mutex
	var handler http.Handler = mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s }, nil)
	t.Cleanup(func() {
		for session := range s.Sessions() { // the session that its client abandoned
			_ = session.Close()
		}
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer k" {
			http.Error(w, "who are you", http.StatusUnauthorized)
			return
		}
		mu.Lock()
		h := handler
		mu.Unlock()
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	cfg := mcptool.Server{Name: "test", URL: server.URL, Headers: map[string]string{"Authorization": "Bearer k"}}
	p := connect(t, cfg)
	assert.Contains(t, call(t, p, "test.echo", "hi").Content, "echo hi")

	// A restarted server does not have the old session.
	mu.Lock()
	again := testServer()
	handler = mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return again }, nil)
	mu.Unlock()
	assert.Eventually(t, func() bool {
		return !call(t, p, "test.echo", "hi").Failed
	}, 20*time.Second, 50*time.Millisecond)

	cfg.Headers = nil
	_, err := mcptool.Connect(t.Context(), cfg)
	assert.ErrorContains(t, err, "MCP server test: ")
}

// TestARealServer uses the reference server of the protocol, if npx has it.
func TestARealServer(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("npx"); err != nil {
		t.Skip("npx is not installed")
	}
	const name = "@modelcontextprotocol/server-everything"
	c, err := mcptool.Connect(t.Context(), mcptool.Server{
		Name: "everything", Command: "npx", Args: []string{"--offline", "--yes", name, "stdio"}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Skipf("%s is not in npx's cache (`npx -y %s stdio` fetches it): %v", name, name, err)
	}
	defer c.Close()
	p, err := toolpool.New(toolpool.Config{})
	require.NoError(t, err)
	for _, tool := range c.Tools() {
		require.NoError(t, p.Register(tool), tool.Name)
	}
	assert.Contains(t, p.Names(), "everything__echo")
	r, err := p.Call(t.Context(), toolpool.Call{Name: "everything__echo", Arguments: `{"message":"hello"}`})
	require.NoError(t, err)
	assert.Equal(t, "Echo: hello", r.Content)
	t.Log(strings.Join(p.Names(), " "))
}

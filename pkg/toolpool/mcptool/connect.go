package mcptool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.opentelemetry.io/otel/propagation"

	"github.com/batchagent/batchagent/pkg/internal/capture"
	"github.com/batchagent/batchagent/pkg/internal/confine"
	"github.com/batchagent/batchagent/pkg/redact"
)

// goodbye is the time for a process to exit after its standard input is closed.
const goodbye = 2 * time.Second

// inherited are the only variables that a server's process gets from the worker: others may be secrets.
var inherited = []string{"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TMPDIR", "LANG", "LC_ALL", "TZ"}

func (c *Client) connect(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StartTimeout)
	defer cancel()
	if c.cfg.URL != "" {
		return c.reach(ctx)
	}
	return c.start(ctx)
}

// start runs the server's program and connects to its standard input and output.
func (c *Client) start(ctx context.Context) (*session, error) {
	cmd := exec.Command(c.cfg.Command, c.cfg.Args...) //nolint:gosec // configured by the operator
	cmd.Dir = c.cfg.Dir
	cmd.Env = c.environment()
	cmd.SysProcAttr = confine.Attributes()
	cmd.WaitDelay = goodbye
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr := newLineLog(c.cfg.Secrets, c.cfg.Stderr)
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.cfg.Command, err)
	}
	exited := make(chan struct{})
	kill := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // fails if the group is empty

	// Closed input asks the server to exit. Its output ends when it has exited.
	transport := &mcp.IOTransport{Reader: io.NopCloser(stdout), Writer: stdin, MaxLineLength: maxMessage}
	conn, err := c.client.Connect(ctx, transport, nil)
	if err != nil {
		kill()
		_ = cmd.Wait()
		if last := stderr.last(); last != "" {
			return nil, fmt.Errorf("%w; it said: %s", err, last)
		}
		return nil, err
	}
	s := &session{mcp: conn, began: time.Now(), ended: make(chan struct{})}
	s.stop = sync.OnceFunc(func() {
		_ = stdin.Close() // ends the conversation; the reader handles the rest
		select {
		case <-exited:
		case <-time.After(goodbye):
		}
		kill()
	})
	go func() {
		defer close(s.ended)
		_ = conn.Wait()
		kill()         // without its input or output it is useless
		_ = cmd.Wait() // its exit status does not matter
		kill()         // its remaining children
		close(exited)
		_ = conn.Close()
	}()
	return s, nil
}

func (c *Client) environment() []string {
	var env []string
	for _, name := range inherited {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return append(env, c.cfg.Env...) // the last value of a name is used
}

// reach connects to a running server.
func (c *Client) reach(ctx context.Context) (*session, error) {
	u, err := url.Parse(c.cfg.URL)
	if err != nil {
		return nil, errors.New("its url is invalid")
	}
	base := &http.Transport{Proxy: c.cfg.Proxy, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute}
	conn, err := c.client.Connect(ctx, &mcp.StreamableClientTransport{
		Endpoint:             c.cfg.URL,
		HTTPClient:           &http.Client{Transport: &headers{base: base, host: u.Host, add: c.cfg.Headers}},
		DisableStandaloneSSE: true, // messages outside of a call are not used
		MaxEventSize:         maxMessage,
	}, nil)
	if err != nil {
		base.CloseIdleConnections()
		return nil, err
	}
	s := &session{mcp: conn, began: time.Now(), ended: make(chan struct{})}
	s.stop = sync.OnceFunc(func() { _ = conn.Close() })
	go func() {
		defer close(s.ended)
		_ = conn.Wait()
		base.CloseIdleConnections()
	}()
	return s, nil
}

// headers adds the operator's headers to requests to one host only, also after redirects.
type headers struct {
	base http.RoundTripper
	host string
	add  map[string]string
}

func (h *headers) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == h.host {
		r = r.Clone(r.Context())
		propagation.TraceContext{}.Inject(r.Context(), propagation.HeaderCarrier(r.Header)) // a no-op if the call is not traced
		for name, value := range h.add {
			r.Header.Set(name, value)
		}
	}
	resp, err := h.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	// In an event stream the limit applies to each event, not to the sum.
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != "text/event-stream" {
		resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxMessage}
	}
	return resp, nil
}

// boundedBody fails when an answer exceeds the limit of a message.
type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, fmt.Errorf("the answer is longer than %d bytes", maxMessage)
	}
	return n, err
}

// lineLog passes on a server's standard error line by line, without secrets.
type lineLog struct {
	secrets *redact.Secrets
	say     func(string)

	mu    sync.Mutex
	rest  *capture.Head  // guarded by mu: the beginning of the current line
	write io.WriteCloser // guarded by mu: into rest
	line  string         // guarded by mu: the last complete line
}

const maxLogLine = 1000

func newLineLog(secrets *redact.Secrets, say func(string)) *lineLog {
	l := &lineLog{secrets: secrets, say: say}
	l.begin()
	return l
}

// begin starts a line. The caller holds mu, except in newLineLog.
func (l *lineLog) begin() {
	l.rest = capture.NewHead(maxLogLine)
	l.write = l.secrets.Writer(l.rest)
}

func (l *lineLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for rest := p; len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, []byte("\n"))
		_, _ = l.write.Write(line) // a Head accepts every write
		if !ended {
			break
		}
		_ = l.write.Close() // as above
		if text := l.rest.Kept(); text != "" {
			l.line = text
			if l.say != nil {
				l.say(text)
			}
		}
		l.begin()
		rest = after
	}
	return len(p), nil
}

// last returns the last line. It is called after the server has ended.
func (l *lineLog) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.write.Close() // a Head accepts every write
	if text := l.rest.Kept(); text != "" {
		return text
	}
	return l.line
}

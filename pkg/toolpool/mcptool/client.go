package mcptool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/batchagent/batchagent/pkg/jsonschema"
	"github.com/batchagent/batchagent/pkg/redact"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

const (
	defaultStart = 30 * time.Second
	maxMessage   = 16 << 20 // bytes of one message of a server
	maxTools     = 256      // of one server
	steadyAfter  = 10 * time.Second
)

// Server is one MCP server: a program, or the URL of a running server.
type Server struct {
	Name string // letters, digits, - and single _

	Command string
	Args    []string
	Env     []string // NAME=value, beside PATH, HOME and the locale
	Dir     string   // defaults to the worker's

	URL     string
	Headers map[string]string // sent to the URL's host only

	// Proxy applies to URL. Nil connects directly.
	Proxy func(*http.Request) (*url.URL, error)

	StartTimeout time.Duration // for the start and the list of tools; defaults to 30 s
	Version      string        // part of the sharing key of its tools
	Logger       *slog.Logger  // Defaults to no log.
	Stderr       func(line string)
	// Secrets are redacted in lines of standard error before they are cut. Nil redacts nothing.
	Secrets *redact.Secrets
}

// Client is a connection to one server. It reconnects after a loss.
type Client struct {
	cfg    Server
	client *mcp.Client
	tools  []*mcp.Tool

	turn     chan struct{}   // capacity 1; its holder owns the fields below
	current  *session        // nil before the first connection
	waits    backoff.BackOff // between failed starts
	earliest time.Time       // of the next start
	closed   bool
}

// session is one connection to the server.
type session struct {
	mcp   *mcp.ClientSession
	began time.Time
	stop  func()        // ends the server's process
	ended chan struct{} // closed when the connection and the process have ended
}

// Connect starts or reaches the server and lists its tools. ctx limits that, not the life of the connection.
func Connect(ctx context.Context, cfg Server) (*Client, error) {
	if cfg.StartTimeout <= 0 {
		cfg.StartTimeout = defaultStart
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval = 500*time.Millisecond, 30*time.Second
	c := &Client{
		cfg: cfg, turn: make(chan struct{}, 1), waits: waits,
		client: mcp.NewClient(&mcp.Implementation{Name: "batchagent", Version: "1"}, nil),
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.StartTimeout)
	defer cancel()
	s, err := c.session(ctx)
	if err != nil {
		return nil, fmt.Errorf("MCP server %s: %w", cfg.Name, err)
	}
	for t, err := range s.mcp.Tools(ctx, nil) {
		if err != nil {
			c.Close()
			return nil, fmt.Errorf("MCP server %s does not list its tools: %w", cfg.Name, err)
		}
		c.tools = append(c.tools, t)
		if len(c.tools) > maxTools {
			c.Close()
			return nil, fmt.Errorf("MCP server %s has more than %d tools", cfg.Name, maxTools)
		}
	}
	slices.SortFunc(c.tools, func(a, b *mcp.Tool) int { return strings.Compare(a.Name, b.Name) })
	return c, nil
}

// Close ends the connection and the server's process. Running calls fail.
func (c *Client) Close() {
	c.turn <- struct{}{}
	c.closed = true
	s := c.current
	<-c.turn
	if s != nil {
		s.stop()
		<-s.ended
	}
}

// session returns the live connection, or opens one after the current backoff.
func (c *Client) session(ctx context.Context) (*session, error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c.closed {
		return nil, errors.New("the worker is shutting down")
	}
	if c.current != nil {
		select {
		case <-c.current.ended:
			c.cfg.Logger.Warn("MCP server ended; restarting it", "server", c.cfg.Name, "lived", time.Since(c.current.began).Round(time.Millisecond))
			if time.Since(c.current.began) > steadyAfter {
				c.waits.Reset()
			}
			c.earliest = c.current.began.Add(c.waits.NextBackOff())
			c.current = nil
		default:
			return c.current, nil
		}
	}
	wait := time.NewTimer(time.Until(c.earliest))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return nil, fmt.Errorf("it is waiting for its restart: %w", ctx.Err())
	}
	s, err := c.connect(ctx)
	if err != nil {
		c.earliest = time.Now().Add(c.waits.NextBackOff())
		return nil, err
	}
	c.current = s
	return s, nil
}

// Tools returns the server's tools. A tool without a usable schema is skipped and logged. A tool that is declared to change things, and
// not to be idempotent, gets Share Effect. The others share overlapping calls. The declarations are trusted.
func (c *Client) Tools() []toolpool.Tool {
	var tools []toolpool.Tool
	for _, t := range c.tools {
		parameters, err := json.Marshal(t.InputSchema)
		if err == nil {
			_, err = jsonschema.Compile(parameters)
		}
		if err != nil {
			c.cfg.Logger.Warn("MCP tool has no usable schema and is left out", "server", c.cfg.Name, "tool", t.Name, "error", err)
			continue
		}
		share := toolpool.Inflight
		if a := t.Annotations; a != nil && !a.ReadOnlyHint && !a.IdempotentHint && (a.DestructiveHint == nil || *a.DestructiveHint) {
			share = toolpool.Effect
		}
		description := t.Description
		if description == "" {
			description = t.Name
		}
		tools = append(tools, toolpool.Tool{
			Name: toolpool.WireName(c.cfg.Name + "." + t.Name), Description: description, Parameters: parameters, Share: share,
			Version: c.cfg.Version,
			Run: func(ctx context.Context, args json.RawMessage) (string, error) {
				return c.call(ctx, t.Name, args)
			},
		})
	}
	return tools
}

// call runs one tool. It does not retry a call after a broken connection, because the server may have executed it.
func (c *Client) call(ctx context.Context, tool string, args json.RawMessage) (string, error) {
	s, err := c.session(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		c.cfg.Logger.Warn("MCP server cannot be reached", "server", c.cfg.Name, "error", c.cfg.Secrets.Error(err))
		return "", fmt.Errorf("the server %s is unreachable; try again later or go on without it", c.cfg.Name)
	}
	params := &mcp.CallToolParams{Name: tool, Arguments: args}
	if key := toolpool.IdempotencyKey(ctx); key != "" {
		params.Meta = mcp.Meta{"batchagent/idempotency-key": key}
	}
	result, err := s.mcp.CallTool(ctx, params)
	switch refusal, refused := errors.AsType[*jsonrpc.Error](err); {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case refused && !errors.Is(err, mcp.ErrConnectionClosed):
		return "", fmt.Errorf("the server %s refuses the call: %s", c.cfg.Name, refusal.Message)
	case err != nil:
		c.cfg.Logger.Warn("MCP call failed", "server", c.cfg.Name, "tool", tool, "error", c.cfg.Secrets.Error(err))
		// Any other failure makes the connection unusable. The next call must not find it.
		s.stop()
		select {
		case <-s.ended:
		case <-ctx.Done():
		}
		return "", fmt.Errorf("the server %s failed during the call and is restarted; the call may or may not have taken effect", c.cfg.Name)
	}
	text := contentText(result)
	if result.IsError {
		return "", errors.New(text)
	}
	return text, nil
}

// contentText returns the text of a result. Other content becomes a description in brackets.
func contentText(r *mcp.CallToolResult) string {
	var parts []string
	for _, c := range r.Content {
		switch c := c.(type) {
		case *mcp.TextContent:
			parts = append(parts, c.Text)
		case *mcp.ImageContent:
			parts = append(parts, fmt.Sprintf("[an image, %s, %d bytes: it cannot be shown]", c.MIMEType, len(c.Data)))
		case *mcp.AudioContent:
			parts = append(parts, fmt.Sprintf("[a sound, %s, %d bytes: it cannot be played]", c.MIMEType, len(c.Data)))
		case *mcp.ResourceLink:
			parts = append(parts, fmt.Sprintf("[a resource: %s]", c.URI))
		case *mcp.EmbeddedResource:
			if c.Resource != nil && c.Resource.Text != "" {
				parts = append(parts, c.Resource.Text)
			} else if c.Resource != nil {
				parts = append(parts, fmt.Sprintf("[a resource, %s, %d bytes: %s]", c.Resource.MIMEType, len(c.Resource.Blob), c.Resource.URI))
			}
		}
	}
	if len(parts) == 0 && r.StructuredContent != nil {
		if text, err := json.Marshal(r.StructuredContent); err == nil {
			return string(text)
		}
	}
	return strings.Join(parts, "\n")
}

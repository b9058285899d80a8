package openaichat

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	openai "github.com/sashabaranov/go-openai"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
)

// SimulatedOwner is what the simulated server says in owned_by of its models.
const SimulatedOwner = "batchagent-vllmsim"

// maxAnswerBytes bounds an answer that is not a stream. The largest is a tokenizer's: about 8 bytes per token.
const maxAnswerBytes = 32 << 20

// Dialect is how one kind of server differs from the protocol.
type Dialect struct {
	Capabilities backend.Capabilities
	// KeyHint completes the sentence "set … ", for errors about a key.
	KeyHint string
	// MaxTokensField names the field that bounds completion tokens. Nil says "max_tokens".
	MaxTokensField func(r *backend.Request) string
	// Extra gives body fields that the protocol does not have, Header header fields, and Class the meaning of a refusal
	// ("" leaves it to the protocol's rules). Optional. They must be safe for concurrent use.
	Extra  func(r *backend.Request) []Field
	Header func(r *backend.Request) http.Header
	Class  func(e Refusal) backend.Class
	// Dispatch says that events named tool_call_dispatch tell of whole calls, ahead of their deltas.
	Dispatch bool
	// Clamp says that a prompt and MaxTokens which together are over the window are refused, where others shorten the
	// answer. The call is then made once more with the room that is left.
	Clamp bool
}

// Field is one field of a request's body.
type Field struct {
	Name  string
	Value any
}

// Config describes one endpoint.
type Config struct {
	URL     endpoint.URL
	Base    string // path of the routes below URL.Root. Defaults to "/v1"; "/" is none.
	Key     string // API key; "" sends none
	Dialect Dialect
	// Transport defaults to [endpoint.NewTransport]. Close closes its idle connections.
	Transport http.RoundTripper
}

// Client is one endpoint that speaks the protocol. It is a [backend.Backend].
type Client struct {
	url     endpoint.URL
	base    string
	key     string
	dialect Dialect
	openai  openai.ClientConfig
	http    *http.Client
	buffers sync.Pool              // of *bufio.Reader, one per stream in flight
	model   atomic.Pointer[string] // the server's first model, once asked for
}

// New returns a client for an endpoint. It does not connect.
func New(cfg Config) *Client {
	if cfg.Transport == nil {
		cfg.Transport = endpoint.NewTransport()
	}
	if cfg.Base == "" {
		cfg.Base = "/v1"
	}
	base := strings.TrimRight(cfg.Base, "/")
	oc := openai.DefaultConfig(cfg.Key)
	oc.BaseURL = cfg.URL.Root + base
	return &Client{
		url:     cfg.URL,
		base:    base,
		key:     cfg.Key,
		dialect: cfg.Dialect,
		openai:  oc,
		http: &http.Client{
			Transport: endpoint.Discreet(endpoint.Traced{Base: cfg.Transport}, cfg.Key),
			// A redirected POST would become a GET without a body, and the key would follow it.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		buffers: sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4096) }},
	}
}

// Card is a model as the server lists it.
type Card struct {
	ID          string `json:"id"`
	OwnedBy     string `json:"owned_by"`
	Created     int64  `json:"created"` // unix seconds
	MaxModelLen int    `json:"max_model_len"`
	// ContextWindow is another server's name of MaxModelLen.
	ContextWindow int `json:"context_window"`
}

// Cards lists the models as the server tells them.
func (c *Client) Cards(ctx context.Context) ([]Card, error) {
	body, err := c.Fetch(ctx, http.MethodGet, c.base+"/models", nil)
	if err != nil {
		return nil, err
	}
	var list struct {
		Data []Card `json:"data"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, c.located(&backend.Error{Class: backend.InvalidRequest, Status: http.StatusOK,
			Message: c.base + "/models did not answer with a list of models; is this an OpenAI-compatible server?"})
	}
	return list.Data, nil
}

// Models lists what the endpoint serves.
func (c *Client) Models(ctx context.Context) ([]backend.Model, error) {
	cards, err := c.Cards(ctx)
	if err != nil {
		return nil, err
	}
	models := make([]backend.Model, len(cards))
	for i, card := range cards {
		window := cmp.Or(card.MaxModelLen, card.ContextWindow)
		models[i] = backend.Model{ID: card.ID, MaxModelLen: window, Simulated: card.OwnedBy == SimulatedOwner}
	}
	return models, nil
}

// Ready asks for the list of models, the one cheap route that every such server has.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.Fetch(ctx, http.MethodGet, c.base+"/models", nil)
	return err
}

// Capabilities returns the dialect's.
func (c *Client) Capabilities() backend.Capabilities { return c.dialect.Capabilities }

// Endpoint returns the URL as the user wrote it.
func (c *Client) Endpoint() string { return c.url.Shown }

// Close closes idle connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Fetch makes a call that is not a stream, to a path under the endpoint's root, and returns the answer's body. A
// non-nil in is sent as JSON. Errors are as those of Generate.
func (c *Client) Fetch(ctx context.Context, method, path string, in []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url.Root+path, bytes.NewReader(in))
	if err != nil {
		return nil, fmt.Errorf("build the request for %s of %s: %w", path, c.url.Shown, err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.failure(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusMultipleChoices {
		return nil, c.refusal(resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	if err != nil {
		return nil, c.failure(ctx, err)
	}
	if len(body) > maxAnswerBytes {
		return nil, c.located(&backend.Error{Class: backend.Transient, Status: resp.StatusCode,
			Message: fmt.Sprintf("the answer of %s is longer than %d bytes", path, maxAnswerBytes)})
	}
	return body, nil
}

// ModelOr returns name, or the server's first model if name is "".
func (c *Client) ModelOr(ctx context.Context, name string) (string, error) {
	if name != "" {
		return name, nil
	}
	if m := c.model.Load(); m != nil {
		return *m, nil
	}
	models, err := c.Models(ctx)
	if err != nil {
		return "", err
	}
	if len(models) == 0 {
		return "", c.located(&backend.Error{Class: backend.UnknownModel, Message: "the server lists no model; name one in the spec"})
	}
	c.model.Store(&models[0].ID)
	return models[0].ID, nil
}

// failure turns what ended a call into the error that its caller gets.
func (c *Client) failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("model call at %s: %w", c.url.Shown, context.Cause(ctx))
	}
	if be, ok := errors.AsType[*backend.Error](err); ok {
		return c.located(be)
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err // its text repeats the URL
	}
	return c.located(&backend.Error{Class: backend.Transient, Err: err})
}

// located completes an error with what only the client knows, and keeps the key out of it.
func (c *Client) located(e *backend.Error) *backend.Error {
	e.Endpoint = c.url.Shown
	switch {
	case e.Class == backend.UnknownModel:
		c.model.Store(nil) // the server may have been restarted with another
	case e.Class == backend.Auth && c.dialect.KeyHint != "" && c.key == "":
		e.Message = strings.TrimLeft(e.Message+"; set "+c.dialect.KeyHint, "; ")
	case e.Class == backend.Auth && c.dialect.KeyHint != "":
		e.Message = strings.TrimLeft(e.Message+"; the key was refused, check "+c.dialect.KeyHint, "; ")
	}
	if c.key != "" {
		e.Message = strings.ReplaceAll(e.Message, c.key, "[key]")
	}
	return e
}

func (c *Client) rules() rules { return c.dialect.Class }

// refusal reads a refused call's body into an error.
func (c *Client) refusal(resp *http.Response) *backend.Error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBytes)) // a cut body still tells the status
	return c.located(c.rules().classify(resp.StatusCode, resp.Header, body))
}

package openaichat

import (
	"bufio"
	"bytes"
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
	// MaxTokensField names the field that bounds completion tokens. Defaults to "max_tokens".
	MaxTokensField string
	// Extra gives body fields that the protocol does not have. Optional. It must be safe for concurrent use.
	Extra func(r *backend.Request) []Field
}

// Field is one field of a request's body.
type Field struct {
	Name  string
	Value any
}

// Config describes one endpoint.
type Config struct {
	URL     endpoint.URL
	Key     string // API key; "" sends none
	Dialect Dialect
	// Transport defaults to [endpoint.NewTransport]. Close closes its idle connections.
	Transport http.RoundTripper
}

// Client is one endpoint that speaks the protocol. It is a [backend.Backend].
type Client struct {
	url     endpoint.URL
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
	if cfg.Dialect.MaxTokensField == "" {
		cfg.Dialect.MaxTokensField = "max_tokens"
	}
	oc := openai.DefaultConfig(cfg.Key)
	oc.BaseURL = cfg.URL.Root + "/v1"
	return &Client{
		url:     cfg.URL,
		key:     cfg.Key,
		dialect: cfg.Dialect,
		openai:  oc,
		http: &http.Client{
			Transport: cfg.Transport,
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
	MaxModelLen int    `json:"max_model_len"`
}

// Cards lists the models as the server tells them.
func (c *Client) Cards(ctx context.Context) ([]Card, error) {
	body, err := c.Fetch(ctx, http.MethodGet, "/v1/models", nil)
	if err != nil {
		return nil, err
	}
	var list struct {
		Data []Card `json:"data"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, c.located(&backend.Error{Class: backend.InvalidRequest, Status: http.StatusOK,
			Message: "/v1/models did not answer with a list of models; is this an OpenAI-compatible server?"})
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
		models[i] = backend.Model{ID: card.ID, MaxModelLen: card.MaxModelLen, Simulated: card.OwnedBy == SimulatedOwner}
	}
	return models, nil
}

// Ready asks for the list of models, the one cheap route that every such server has.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.Fetch(ctx, http.MethodGet, "/v1/models", nil)
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

// refusal reads a refused call's body into an error.
func (c *Client) refusal(resp *http.Response) *backend.Error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBytes)) // a cut body still tells the status
	return c.located(classify(resp.StatusCode, resp.Header, body))
}

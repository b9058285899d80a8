package openaichat

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	openai "github.com/sashabaranov/go-openai"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
)

// SimulatedOwner is the value of owned_by in the simulated server's models.
const SimulatedOwner = "batchagent-vllmsim"

// maxAnswerBytes limits an answer that is not a stream. The largest is a tokenizer's: about 8 bytes per token.
const maxAnswerBytes = 32 << 20

// Dialect describes how one kind of server differs from the protocol.
type Dialect struct {
	Capabilities backend.Capabilities
	// KeyHint completes the sentence "set … ", for errors about a key.
	KeyHint string
	// MaxTokensField returns the name of the field that limits completion tokens. Nil means "max_tokens".
	MaxTokensField func(r *backend.Request) string
	// Extra returns body fields outside of the protocol. Header returns header fields. Class returns the class of a
	// refusal; "" leaves it to the protocol's rules. All three are optional and must be safe for concurrent use.
	Extra  func(r *backend.Request) []Field
	Header func(r *backend.Request) http.Header
	Class  func(e Refusal) backend.Class
	// StrictForms declares that the adapter has a strict form of each schema, and handles the refusal of one itself.
	StrictForms bool
	// Dispatch declares that events named tool_call_dispatch contain whole calls, ahead of their deltas.
	Dispatch bool
	// Clamp declares that the server refuses a prompt and MaxTokens that exceed the window together, instead of
	// shortening the answer. The call is then repeated once with the remaining tokens.
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
	Base    string // path of the routes below URL.Root; defaults to "/v1"; "/" means no path
	Key     string // API key; "" sends none
	Dialect Dialect
	// Transport defaults to [endpoint.NewTransport]. Close closes its idle connections.
	Transport http.RoundTripper
	Logger    *slog.Logger // Defaults to discarding.
}

// Client is a client of one endpoint. It implements [backend.Backend].
type Client struct {
	url     endpoint.URL
	base    string
	key     string
	pieces  endpoint.Pieces
	dialect Dialect
	openai  openai.ClientConfig
	http    *http.Client
	buffers sync.Pool              // of *bufio.Reader, one per running stream
	model   atomic.Pointer[string] // the server's first model, once known
	log     *slog.Logger
	refused endpoint.Refusals // parts of requests that a model refuses
	waits   endpoint.LongWaits
}

// New returns a client for an endpoint. It does not connect.
func New(cfg Config) *Client {
	if cfg.Transport == nil {
		cfg.Transport = endpoint.NewTransport()
	}
	if cfg.Base == "" {
		cfg.Base = "/v1"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	base := strings.TrimRight(cfg.Base, "/")
	oc := openai.DefaultConfig(cfg.Key)
	oc.BaseURL = cfg.URL.Root + base
	return &Client{
		url:     cfg.URL,
		base:    base,
		key:     cfg.Key,
		pieces:  endpoint.KeyInPieces(cfg.Key),
		dialect: cfg.Dialect,
		log:     cfg.Logger,
		openai:  oc,
		http: &http.Client{
			Transport:     endpoint.Discreet(endpoint.Traced{Base: cfg.Transport}, cfg.Key),
			CheckRedirect: sameServer,
		},
		buffers: sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4096) }},
	}
}

// maxRedirects limits the redirects of one call.
const maxRedirects = 3

// sameServer follows a redirect on the same server that keeps the method. Any other redirect would turn a POST into a
// GET without a body, or send the key to another host.
func sameServer(req *http.Request, via []*http.Request) error {
	from := via[0]
	if len(via) > maxRedirects || req.Method != from.Method || req.URL.Host != from.URL.Host || req.URL.Scheme != from.URL.Scheme {
		return http.ErrUseLastResponse
	}
	return nil
}

// Models lists the models of the endpoint. The list is empty if the server has no readable list: calls then need a model's name.
func (c *Client) Models(ctx context.Context) ([]backend.Model, error) {
	cards, err := c.Cards(ctx)
	if Unlisted(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	models := make([]backend.Model, len(cards))
	for i, card := range cards {
		models[i] = backend.Model{ID: card.ID, MaxModelLen: card.MaxModelLen, Simulated: card.OwnedBy == SimulatedOwner}
	}
	return models, nil
}

// Ready requests the list of models, the one cheap route of most servers. A server without that route is ready too.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.Fetch(ctx, http.MethodGet, c.base+"/models", nil)
	if Unlisted(err) {
		return nil
	}
	return err
}

// Unlisted reports whether a server answered that it has no list of models, or sent an unreadable list.
func Unlisted(err error) bool {
	e, ok := errors.AsType[*backend.Error](err)
	if !ok {
		return false
	}
	switch e.Status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusGone:
		return true
	default:
		return e.Status == http.StatusOK && e.Class == backend.InvalidRequest
	}
}

// Capabilities returns the dialect's capabilities.
func (c *Client) Capabilities() backend.Capabilities { return c.dialect.Capabilities }

// Endpoint returns the URL as the user wrote it.
func (c *Client) Endpoint() string { return c.url.Shown }

// Close closes idle connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Fetch makes a call that is not a stream, to a path under the endpoint's root, and returns the answer's body. It sends
// a non-nil in as JSON. Its errors are those of Generate.
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
		return "", c.located(&backend.Error{Class: backend.UnknownModel, Message: "the server lists no models; name one in the spec (model:)"})
	}
	c.model.Store(&models[0].ID)
	return models[0].ID, nil
}

// failure converts the cause of a call's end into the error for its caller.
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

// located adds the client's information to an error, and removes the key from its message.
func (c *Client) located(e *backend.Error) *backend.Error {
	if e.Endpoint != "" {
		return e // it is complete
	}
	e.Endpoint = c.url.Shown
	switch {
	case e.Class == backend.UnknownModel:
		c.model.Store(nil) // the server may have restarted with another model
	case e.Class == backend.Auth && c.dialect.KeyHint != "" && c.key == "":
		e.Advice = "set " + c.dialect.KeyHint
	case e.Class == backend.Auth && c.dialect.KeyHint != "":
		e.Advice = "the key was refused, check " + c.dialect.KeyHint
	}
	e.Message = endpoint.WithoutKey(e.Message, c.key)
	c.waits.Tell(c.log, c.url.Shown, e.RetryAfter, time.Now())
	return e
}

func (c *Client) rules() rules { return c.dialect.Class }

// refusal converts a refused call's body into an error.
func (c *Client) refusal(resp *http.Response) *backend.Error {
	body, _ := io.ReadAll(io.LimitReader(endpoint.Strike(unpacked(resp), c.key), maxErrorBytes)) // a cut body still has the status
	return c.located(c.rules().classify(resp.StatusCode, resp.Header, body))
}

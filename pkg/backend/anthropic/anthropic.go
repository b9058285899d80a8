package anthropic

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/blocks"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
)

// KeyHint names the variables of the API key.
const KeyHint = "BATCHAGENT_API_KEY or ANTHROPIC_API_KEY"

const (
	apiHost    = "api.anthropic.com"
	apiVersion = "2023-06-01"
)

// Schemes are the URL schemes of this adapter.
var Schemes = map[string]endpoint.Scheme{
	"anthropic":      {HTTP: "https"},
	"anthropic+http": {HTTP: "http"},
}

// Declared are the adapter's capabilities. The adapter finds an account's limit through refusals of the API. 4
// simultaneous requests are within the lowest tier.
var Declared = backend.Capabilities{
	Name: "anthropic", PrefixCache: true, PrefixPinned: true, PrefixLate: true, CachedUsage: true, StructuredOutput: true,
	StartConcurrent: 4, MaxConcurrent: 32,
}

// Config describes one endpoint.
type Config struct {
	URL       string
	Getenv    func(string) string // Defaults to os.Getenv.
	Logger    *slog.Logger        // Defaults to discarding.
	Transport http.RoundTripper   // Defaults to endpoint.NewTransport.
}

// Backend is one endpoint. It implements [backend.Backend].
type Backend struct {
	http     *http.Client
	root     string // without a trailing slash
	bearer   bool   // send the key as a bearer, too: self-hosted servers read only this header
	shown    string
	key      string
	pieces   endpoint.Pieces
	log      *slog.Logger
	refusals endpoint.Refusals
	model    atomic.Pointer[string] // the server's first model, once known
}

// New returns a backend for an endpoint. It does not connect.
func New(cfg Config) (*Backend, error) {
	if cfg.Getenv == nil {
		cfg.Getenv = os.Getenv
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Transport == nil {
		cfg.Transport = endpoint.NewTransport()
	}
	raw := cfg.URL
	if strings.TrimRight(raw, "/") == "anthropic:" {
		raw = "anthropic://" + apiHost
	}
	u, err := endpoint.ParseURL(raw, Schemes, KeyHint)
	if err != nil {
		return nil, err
	}
	apiKey := key(cfg.Getenv, u.Plain)
	b := &Backend{
		root:   u.Root,
		bearer: !strings.HasPrefix(u.Root, "https://"+apiHost),
		shown:  u.Shown,
		key:    apiKey,
		pieces: endpoint.KeyInPieces(apiKey),
		log:    cfg.Logger,
		http: &http.Client{
			Transport: blocks.Watched{Base: endpoint.Discreet(endpoint.Traced{Base: cfg.Transport}, apiKey)},
			// A redirect would turn a POST into a GET without a body, and send the key along.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if b.key != "" && u.Plain {
		cfg.Logger.Warn("the API key is sent unencrypted; anthropic:// encrypts it", "endpoint", u.Shown)
	}
	return b, nil
}

func key(getenv func(string) string, plain bool) string {
	if k := strings.TrimSpace(getenv("BATCHAGENT_API_KEY")); k != "" {
		return k
	}
	if plain {
		return ""
	}
	return strings.TrimSpace(getenv("ANTHROPIC_API_KEY"))
}

// Models lists the models of the account or the server. The API lists the newest first.
func (b *Backend) Models(ctx context.Context) ([]backend.Model, error) {
	return b.list(ctx, "/v1/models?limit=1000")
}

// Ready requests one entry of the list of models, which costs nothing.
func (b *Backend) Ready(ctx context.Context) error {
	_, err := b.list(ctx, "/v1/models?limit=1")
	return err
}

func (b *Backend) list(ctx context.Context, path string) ([]backend.Model, error) {
	var page struct {
		Data []struct {
			ID             string `json:"id"`
			MaxInputTokens int    `json:"max_input_tokens"`
			MaxModelLen    int    `json:"max_model_len"` // sent by self-hosted servers
		} `json:"data"`
	}
	answer, err := b.call(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, b.failure(ctx, err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&page); err != nil {
		return nil, b.failure(ctx, &backend.Error{Class: backend.InvalidRequest, Status: answer.StatusCode, Err: err,
			Message: "/v1/models did not answer with a list of models; does this server speak Anthropic's Messages API?"})
	}
	models := make([]backend.Model, len(page.Data))
	for i, m := range page.Data {
		models[i] = backend.Model{ID: m.ID, MaxModelLen: cmp.Or(m.MaxInputTokens, m.MaxModelLen)}
	}
	return models, nil
}

// call makes a request and returns an answer with status 200. The caller closes its body. Another status is a *backend.Error.
func (b *Backend) call(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, b.root+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Anthropic-Version", apiVersion)
	req.Header.Set("Content-Type", "application/json")
	if b.key != "" {
		req.Header.Set("X-Api-Key", b.key)
		if b.bearer {
			req.Header.Set("Authorization", "Bearer "+b.key)
		}
	}
	answer, err := b.http.Do(req)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body) // of limited length, see [blocks.Watched]
	if err != nil && len(text) == 0 {
		return nil, err
	}
	return nil, classify(answer.StatusCode, answer.Header, text, time.Now())
}

// Capabilities returns Declared.
func (b *Backend) Capabilities() backend.Capabilities { return Declared }

// Endpoint returns the URL as the user wrote it, with the default host if the URL had none.
func (b *Backend) Endpoint() string { return b.shown }

// Close closes idle connections.
func (b *Backend) Close() error {
	b.http.CloseIdleConnections()
	return nil
}

// modelOr returns name, or the server's first model if name is "".
func (b *Backend) modelOr(ctx context.Context, name string) (string, error) {
	if name != "" {
		return name, nil
	}
	if m := b.model.Load(); m != nil {
		return *m, nil
	}
	models, err := b.Models(ctx)
	if err != nil {
		return "", err
	}
	if len(models) == 0 {
		return "", b.located(&backend.Error{Class: backend.UnknownModel, Message: "the server lists no model; name one in the spec"})
	}
	b.model.Store(&models[0].ID)
	return models[0].ID, nil
}

// failure converts the cause of a call's end into the error for its caller.
func (b *Backend) failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("model call at %s: %w", b.shown, context.Cause(ctx))
	}
	if be, ok := errors.AsType[*backend.Error](err); ok {
		return b.located(be)
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err // its text repeats the URL
	}
	return b.located(&backend.Error{Class: backend.Transient, Err: err})
}

// located adds the backend's information to an error, and removes the key from its message.
func (b *Backend) located(e *backend.Error) *backend.Error {
	if e.Endpoint != "" {
		return e // it is complete
	}
	e.Endpoint = b.shown
	switch {
	case e.Class == backend.UnknownModel:
		b.model.Store(nil)
	case e.Class == backend.Auth && b.key == "":
		e.Advice = "set " + KeyHint
	case e.Class == backend.Auth:
		e.Advice = "the key was refused, check " + KeyHint
	}
	e.Message = endpoint.WithoutKey(e.Message, b.key)
	return e
}

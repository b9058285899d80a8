package openai

import (
	"cmp"
	"context"
	"hash/fnv"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
	"github.com/batchagent/batchagent/pkg/backend/openaichat"
)

// KeyHint names the variables of the API key.
const KeyHint = "BATCHAGENT_API_KEY or OPENAI_API_KEY"

const (
	apiHost = "api.openai.com"
	// readyFor is how long a paid endpoint counts as ready after an answer, so that it is not requested twice a second.
	readyFor = 30 * time.Second
	// maxStrict limits the cached strict forms of schemas.
	maxStrict = 256
	// cacheShards is the number of cache keys for the agents of a batch. The API sends about 15 requests a minute with
	// the same prefix and key to one machine, and the rest to others, so one key is too few. With one key per agent,
	// agents would never share their common prefix.
	cacheShards = 16
	maxCacheKey = 64
)

// Schemes are the URL schemes of this adapter.
var Schemes = map[string]endpoint.Scheme{
	"openai":      {HTTP: "https"},
	"openai+http": {HTTP: "http"},
	"http":        {HTTP: "http"},
	"https":       {HTTP: "https"},
}

// Declared are the capabilities for OpenAI, Compatible those for every other server with the protocol. Both find an
// account's limit through refusals.
var (
	Declared = backend.Capabilities{
		Name: "openai", PrefixCache: true, CachedUsage: true, StructuredOutput: true, StartConcurrent: 8, MaxConcurrent: 64,
	}
	Compatible = backend.Capabilities{Name: "openai-compatible", StructuredOutput: true, StartConcurrent: 8, MaxConcurrent: 32}
)

// Config describes one endpoint.
type Config struct {
	URL       string
	Getenv    func(string) string // Defaults to os.Getenv.
	Logger    *slog.Logger        // Defaults to discarding.
	Transport http.RoundTripper   // Defaults to endpoint.NewTransport.
}

// Backend is one endpoint. It implements [backend.Backend].
type Backend struct {
	*openaichat.Client
	log      *slog.Logger
	own      bool // it has OpenAI's own fields
	paid     bool // it is OpenAI itself
	refusals endpoint.Refusals
	strict   *lru.Cache[string, *strict] // by schema; nil for one without a strict form
	answered atomic.Pointer[time.Time]   // the time of its last good answer, with its monotonic reading
}

// New returns a backend for an endpoint. It does not connect.
func New(cfg Config) (*Backend, error) {
	if cfg.Getenv == nil {
		cfg.Getenv = os.Getenv
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	raw := cfg.URL
	if strings.EqualFold(strings.TrimRight(raw, "/"), "openai:") {
		raw = "openai://" + apiHost
	}
	u, err := endpoint.ParseURL(raw, Schemes, KeyHint)
	if err != nil {
		return nil, err
	}
	variables := []string{"BATCHAGENT_API_KEY", "OPENAI_API_KEY"}
	if u.Plain {
		variables = variables[:1]
	}
	key := endpoint.Key(cfg.Getenv, variables...)
	if key != "" && u.Plain {
		cfg.Logger.Warn("the API key is sent unencrypted; https:// and openai:// encrypt it", "endpoint", u.Shown)
	}
	b := &Backend{log: cfg.Logger, own: strings.HasPrefix(u.Shown, "openai"), paid: strings.HasPrefix(u.Root, "https://"+apiHost)}
	if b.strict, err = lru.New[string, *strict](maxStrict); err != nil {
		return nil, err
	}
	dialect := openaichat.Dialect{Capabilities: Compatible, KeyHint: KeyHint, Class: class, StrictForms: true, MaxTokensField: b.maxTokensField, Extra: b.extra}
	if b.own {
		dialect.Capabilities = Declared
	}
	b.Client = openaichat.New(openaichat.Config{URL: u, Base: base(u), Key: key, Transport: cfg.Transport, Logger: cfg.Logger, Dialect: dialect})
	return b, nil
}

// base returns the path of the routes below the URL's root, from which a final "/v1" was removed. A path is used
// unchanged, because not every provider has its routes under /v1.
func base(u endpoint.URL) string {
	if r, err := url.Parse(u.Root); err == nil && r.Path != "" && !strings.HasSuffix(u.Shown, "/v1") {
		return "/"
	}
	return "/v1"
}

// class returns the class of API refusals that resemble others.
func class(e openaichat.Refusal) backend.Class {
	switch e.Code {
	case "billing_not_active", "access_terminated", "billing_limit_user_error":
		return backend.QuotaExhausted
	case "string_above_max_length":
		return backend.ContextTooLong
	}
	return ""
}

// Ready requests the list of models, unless an openai:// endpoint answered within readyFor.
func (b *Backend) Ready(ctx context.Context) error {
	if last := b.answered.Load(); b.own && last != nil && time.Since(*last) < readyFor {
		return nil
	}
	err := b.Client.Ready(ctx)
	if err == nil {
		b.answers()
	}
	return err
}

// answers records a good answer of the endpoint.
func (b *Backend) answers() {
	now := time.Now()
	b.answered.Store(&now)
}

// otherModels are words in the names of OpenAI's models that are not for chat.
var otherModels = []string{
	"audio", "babbage", "dall-e", "davinci", "embedding", "image", "instruct", "moderation", "realtime", "search", "sora", "transcribe",
	"tts", "whisper",
}

// Models lists the models of the endpoint. OpenAI's own list has all kinds of models in no order. Of it, Models returns
// the chat models, newest first.
func (b *Backend) Models(ctx context.Context) ([]backend.Model, error) {
	if !b.paid {
		return b.Client.Models(ctx)
	}
	cards, err := b.Cards(ctx)
	if openaichat.Unlisted(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	cards = slices.DeleteFunc(cards, func(c openaichat.Card) bool { return endpoint.Mentions(c.ID, otherModels...) })
	slices.SortStableFunc(cards, func(x, y openaichat.Card) int { return cmp.Compare(y.Created, x.Created) })
	models := make([]backend.Model, len(cards))
	for i, c := range cards {
		models[i] = backend.Model{ID: c.ID, MaxModelLen: c.MaxModelLen}
	}
	return models, nil
}

// maxTokensField returns the field name of OpenAI's own models, or the older one for others.
func (b *Backend) maxTokensField(*backend.Request) string {
	if b.own {
		return "max_completion_tokens"
	}
	return "max_tokens"
}

// extra returns OpenAI's fields outside of the protocol.
func (b *Backend) extra(r *backend.Request) []openaichat.Field {
	key := cacheKey(r.Hints.Session)
	if !b.own || key == "" {
		return nil
	}
	return []openaichat.Field{{Name: "prompt_cache_key", Value: key}}
}

// cacheKey returns the same key for all turns of an agent, and for a sixteenth of a batch's agents, because they share a prefix.
func cacheKey(session string) string {
	if session == "" {
		return ""
	}
	batch, _, _ := strings.Cut(session, "/")
	h := fnv.New32a()
	_, _ = h.Write([]byte(session)) // never fails
	shard := "-" + strconv.FormatUint(uint64(h.Sum32()%cacheShards), 10)
	if len(batch)+len(shard) > maxCacheKey {
		h.Reset()
		_, _ = h.Write([]byte(batch))
		batch = strconv.FormatUint(uint64(h.Sum32()), 36)
	}
	return batch + shard
}

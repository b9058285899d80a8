package dial

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/anthropic"
	"github.com/batchagent/batchagent/pkg/backend/bedrock"
	"github.com/batchagent/batchagent/pkg/backend/dynamo"
	"github.com/batchagent/batchagent/pkg/backend/openai"
	"github.com/batchagent/batchagent/pkg/backend/sglang"
	"github.com/batchagent/batchagent/pkg/backend/vllm"
)

// adapters are the known adapters with their URL schemes.
var adapters = []struct {
	schemes []string
	open    func(ctx context.Context, url string, o Options) (backend.Backend, error)
}{
	{[]string{"vllm", "vllm+http", "vllm+https"}, func(_ context.Context, url string, o Options) (backend.Backend, error) {
		return opened(vllm.New(vllm.Config{URL: url, Getenv: o.Getenv, Logger: o.Logger}))
	}},
	{[]string{"sglang", "sglang+http", "sglang+https"}, func(_ context.Context, url string, o Options) (backend.Backend, error) {
		return opened(sglang.New(sglang.Config{URL: url, Getenv: o.Getenv, Logger: o.Logger}))
	}},
	{[]string{"dynamo", "dynamo+http", "dynamo+https"}, func(_ context.Context, url string, o Options) (backend.Backend, error) {
		return opened(dynamo.New(dynamo.Config{URL: url, Getenv: o.Getenv, Logger: o.Logger}))
	}},
	{[]string{"anthropic", "anthropic+http"}, func(_ context.Context, url string, o Options) (backend.Backend, error) {
		return opened(anthropic.New(anthropic.Config{URL: url, Getenv: o.Getenv, Logger: o.Logger}))
	}},
	{[]string{"bedrock"}, func(ctx context.Context, url string, o Options) (backend.Backend, error) {
		return opened(bedrock.New(ctx, bedrock.Config{URL: url, Getenv: o.Getenv, Logger: o.Logger}))
	}},
	{[]string{"openai", "openai+http", "http", "https"}, func(_ context.Context, url string, o Options) (backend.Backend, error) {
		return opened(openai.New(openai.Config{URL: url, Getenv: o.Getenv, Logger: o.Logger}))
	}},
}

// opened turns the result of an adapter into one that is nil on an error.
func opened[B backend.Backend](b B, err error) (backend.Backend, error) {
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Schemes lists the URL schemes that Open supports.
var Schemes = func() (all []string) {
	for _, a := range adapters {
		all = append(all, a.schemes...)
	}
	return all
}()

// Options apply to every adapter.
type Options struct {
	Logger *slog.Logger        // Defaults to discarding.
	Getenv func(string) string // Source of the API keys. Defaults to os.Getenv.
}

// Open returns the backend for a URL. It does not connect: see [backend.Backend.Ready]. ctx is used by adapters that
// load credentials.
func Open(ctx context.Context, rawURL string, o Options) (backend.Backend, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	scheme, _, ok := strings.Cut(rawURL, "://")
	if !ok {
		return nil, fmt.Errorf("a backend URL starts with one of %s, such as vllm://127.0.0.1:8000", known())
	}
	scheme = strings.ToLower(scheme)
	for _, a := range adapters {
		if slices.Contains(a.schemes, scheme) {
			return a.open(ctx, rawURL, o)
		}
	}
	return nil, fmt.Errorf("unknown backend scheme %q; known are %s", scheme, known())
}

func known() string { return strings.Join(Schemes, "://, ") + "://" }

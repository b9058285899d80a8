package dial

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/anthropic"
	"github.com/batchagent/batchagent/pkg/backend/bedrock"
	"github.com/batchagent/batchagent/pkg/backend/dynamo"
	"github.com/batchagent/batchagent/pkg/backend/openai"
	"github.com/batchagent/batchagent/pkg/backend/sglang"
	"github.com/batchagent/batchagent/pkg/backend/vllm"
)

// Schemes lists the URL schemes that Open supports.
var Schemes = []string{
	"vllm", "vllm+http", "vllm+https", "sglang", "sglang+http", "sglang+https", "dynamo", "dynamo+http", "dynamo+https",
	"anthropic", "anthropic+http", "bedrock", "openai", "openai+http", "http", "https",
}

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
	switch scheme = strings.ToLower(scheme); scheme {
	case "vllm", "vllm+http", "vllm+https":
		b, err := vllm.New(vllm.Config{URL: rawURL, Getenv: o.Getenv, Logger: o.Logger})
		if err != nil {
			return nil, err
		}
		return b, nil
	case "sglang", "sglang+http", "sglang+https":
		b, err := sglang.New(sglang.Config{URL: rawURL, Getenv: o.Getenv, Logger: o.Logger})
		if err != nil {
			return nil, err
		}
		return b, nil
	case "dynamo", "dynamo+http", "dynamo+https":
		b, err := dynamo.New(dynamo.Config{URL: rawURL, Getenv: o.Getenv, Logger: o.Logger})
		if err != nil {
			return nil, err
		}
		return b, nil
	case "anthropic", "anthropic+http":
		b, err := anthropic.New(anthropic.Config{URL: rawURL, Getenv: o.Getenv, Logger: o.Logger})
		if err != nil {
			return nil, err
		}
		return b, nil
	case "bedrock":
		b, err := bedrock.New(ctx, bedrock.Config{URL: rawURL, Getenv: o.Getenv, Logger: o.Logger})
		if err != nil {
			return nil, err
		}
		return b, nil
	case "openai", "openai+http", "http", "https":
		b, err := openai.New(openai.Config{URL: rawURL, Getenv: o.Getenv, Logger: o.Logger})
		if err != nil {
			return nil, err
		}
		return b, nil
	default:
		return nil, fmt.Errorf("unknown backend scheme %q; known are %s", scheme, known())
	}
}

func known() string { return strings.Join(Schemes, "://, ") + "://" }

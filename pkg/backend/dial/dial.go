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
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
	"github.com/batchagent/batchagent/pkg/backend/openaichat"
	"github.com/batchagent/batchagent/pkg/backend/sglang"
	"github.com/batchagent/batchagent/pkg/backend/vllm"
)

// Schemes lists the URL schemes that Open knows.
var Schemes = []string{"vllm", "vllm+http", "vllm+https", "sglang", "sglang+http", "sglang+https", "anthropic", "anthropic+http", "bedrock", "http", "https"}

// Options are for whatever adapter the URL names.
type Options struct {
	Logger *slog.Logger        // Defaults to discarding.
	Getenv func(string) string // Defaults to os.Getenv. Keys come from here.
}

// Open returns the backend that a URL names. It does not connect: see [backend.Backend.Ready]. ctx is for adapters
// that load credentials.
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
	case "anthropic", "anthropic+http":
		b, err := anthropic.New(anthropic.Config{URL: rawURL, Getenv: o.Getenv, Logger: o.Logger})
		if err != nil {
			return nil, err
		}
		return b, nil
	case "bedrock":
		b, err := bedrock.New(ctx, bedrock.Config{URL: rawURL, Logger: o.Logger})
		if err != nil {
			return nil, err
		}
		return b, nil
	case "http", "https":
		return openCompatible(rawURL, o)
	default:
		return nil, fmt.Errorf("unknown backend scheme %q; known are %s", scheme, known())
	}
}

func known() string { return strings.Join(Schemes, "://, ") + "://" }

const compatibleKeyHint = "BATCHAGENT_API_KEY or OPENAI_API_KEY"

// compatible is what every server with the protocol is taken to do.
var compatible = backend.Capabilities{Name: "openai-compatible", StructuredOutput: true, MaxConcurrent: 32}

// openCompatible opens a server of which nothing is known but its protocol.
func openCompatible(rawURL string, o Options) (backend.Backend, error) {
	u, err := endpoint.ParseURL(rawURL, map[string]endpoint.Scheme{"http": {HTTP: "http"}, "https": {HTTP: "https"}}, compatibleKeyHint)
	if err != nil {
		return nil, err
	}
	key := strings.TrimSpace(o.Getenv("BATCHAGENT_API_KEY"))
	if key == "" {
		key = strings.TrimSpace(o.Getenv("OPENAI_API_KEY"))
	}
	if key != "" && u.Plain {
		o.Logger.Warn("the API key is sent unencrypted; https:// encrypts it", "endpoint", u.Shown)
	}
	return openaichat.New(openaichat.Config{URL: u, Key: key, Dialect: openaichat.Dialect{
		Capabilities: compatible,
		KeyHint:      compatibleKeyHint,
	}}), nil
}

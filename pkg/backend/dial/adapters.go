package dial

import (
	"context"

	"github.com/batchagent/batchagent/pkg/backend"
)

// examples are URLs that open each adapter once.
var examples = []string{
	"vllm://host:8000", "sglang://host:30000", "dynamo://host:8000", "openai://", "anthropic://", "bedrock://us-east-1/model",
	"http://host:8000",
}

// Adapter is an adapter with an example of its URLs.
type Adapter struct {
	URL          string
	Capabilities backend.Capabilities
}

// Adapters returns the declared capabilities of each adapter. It makes no connection.
func Adapters(ctx context.Context) ([]Adapter, error) {
	out := make([]Adapter, len(examples))
	for i, url := range examples {
		b, err := Open(ctx, url, Options{Getenv: func(string) string { return "" }})
		if err != nil {
			return nil, err
		}
		out[i] = Adapter{URL: url, Capabilities: b.Capabilities()}
		if err := b.Close(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

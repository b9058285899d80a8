package dial

import (
	"context"
	"fmt"
	"time"

	"github.com/batchagent/batchagent/pkg/backend/openaichat"
	"github.com/batchagent/batchagent/pkg/backend/vllm"
)

// DefaultAddress is the usual address of an inference server on this machine.
const DefaultAddress = "127.0.0.1:8000"

// probeTimeout is short because the server is on this machine.
const probeTimeout = time.Second

// Probe checks for an OpenAI-compatible server at a host:port and returns its backend URL. The server must list a model
// within a second. Probe sends only the key for self-hosted servers.
func Probe(ctx context.Context, address string, o Options) (string, error) {
	b, err := vllm.New(vllm.Config{URL: "vllm://" + address, Getenv: o.Getenv, Logger: o.Logger})
	if err != nil {
		return "", err
	}
	defer b.Close()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	cards, err := b.Cards(ctx)
	if err != nil {
		return "", err
	}
	if len(cards) == 0 {
		return "", fmt.Errorf("the server at %s lists no model", address)
	}
	switch cards[0].OwnedBy {
	case "vllm", openaichat.SimulatedOwner:
		return "vllm://" + address, nil
	case "sglang":
		return "sglang://" + address, nil
	case "nvidia":
		return "dynamo://" + address, nil
	default:
		return "http://" + address, nil
	}
}

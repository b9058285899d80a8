package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/batchagent/batchagent/pkg/toolpool"
)

const toolTime = 200 * time.Millisecond

// slowTool takes 200 ms and always returns the same result. Every agent makes the same call, so overlapping calls are shared.
var slowTool = toolpool.Tool{
	Name:        "lookup",
	Description: "Look a table up.",
	Parameters:  json.RawMessage(`{"type":"object","properties":{"table":{"enum":["prices"]}},"required":["table"],"additionalProperties":false}`),
	Share:       toolpool.Inflight,
	Run: func(ctx context.Context, _ json.RawMessage) (string, error) {
		select {
		case <-time.After(toolTime):
			return toolAnswer, nil
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	},
}

const toolAnswer = `{"apples": 3, "pears": 4}`

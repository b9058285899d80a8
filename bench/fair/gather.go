package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// gather runs agents without an engine: all at once, each in its own loop. It is the seed's baseline. An agent that fails
// restarts once from its first turn, and each agent makes its own tool call.
type gather struct {
	client   *http.Client
	backends []string // http://host:port
}

func newGather(backends []string) *gather {
	return &gather{backends: backends, client: &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 8192, IdleConnTimeout: 4 * time.Second,
	}}}
}

func (g *gather) callAll(ctx context.Context, n int) (outcome, error) {
	begin := time.Now()
	var ok, executed atomic.Int64
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			url := g.backends[i%len(g.backends)] + "/v1/chat/completions"
			prompt := fmt.Sprintf("Rate this order: order %d: %d apples and %d pears for customer %d", i, i%7, i%11, i*37%1000)
			for range 2 {
				if err := g.agent(ctx, url, prompt, &executed); err == nil {
					ok.Add(1)
					return
				}
			}
		})
	}
	all.Wait()
	wall := time.Since(begin)
	if ctx.Err() != nil {
		return outcome{}, context.Cause(ctx)
	}
	return outcome{wall: wall, ok: int(ok.Load()), executed: executed.Load()}, nil
}

type message struct {
	Role       string `json:"role"`
	Content    string `json:"content"`
	ToolCalls  []call `json:"tool_calls,omitempty"`
	ToolCallID string `json:"tool_call_id,omitempty"`
}

type call struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

const gatherSystem = `You rate orders. Look the prices up before you answer. Answer with JSON that matches this schema:
{"type":"object","properties":{"rating":{"enum":["cheap","fair","dear"]},"score":{"type":"integer","minimum":0,"maximum":100}},"required":["rating","score"],"additionalProperties":false}`

// agent runs the two turns of one job.
func (g *gather) agent(ctx context.Context, url, prompt string, executed *atomic.Int64) error {
	talk := []message{{Role: "system", Content: gatherSystem}, {Role: "user", Content: prompt}}
	for range 4 {
		answer, err := g.chat(ctx, url, talk)
		if err != nil {
			return err
		}
		if len(answer.ToolCalls) == 0 {
			var out struct {
				Rating string
				Score  *int
			}
			if err := json.Unmarshal([]byte(answer.Content), &out); err != nil || out.Rating == "" || out.Score == nil {
				return fmt.Errorf("unexpected answer: %s", answer.Content)
			}
			return nil
		}
		talk = append(talk, answer)
		for _, c := range answer.ToolCalls {
			executed.Add(1)
			result, err := slowTool.Run(ctx, nil)
			if err != nil {
				return err
			}
			talk = append(talk, message{Role: "tool", Content: result, ToolCallID: c.ID})
		}
	}
	return fmt.Errorf("no answer after 4 turns")
}

func (g *gather) chat(ctx context.Context, url string, talk []message) (message, error) {
	body, err := json.Marshal(map[string]any{
		"model": "sim", "messages": talk,
		"tools": []any{map[string]any{"type": "function", "function": map[string]any{
			"name": slowTool.Name, "description": slowTool.Description, "parameters": slowTool.Parameters,
		}}},
	})
	if err != nil {
		return message{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return message{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := g.client.Do(req)
	if err != nil {
		return message{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return message{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return message{}, fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	var answer struct {
		Choices []struct {
			Message message `json:"message"`
		} `json:"choices"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return message{}, err
	}
	if len(answer.Choices) == 0 {
		return message{}, fmt.Errorf("an answer without choices")
	}
	m := answer.Choices[0].Message
	m.Role = "assistant"
	return m, nil
}

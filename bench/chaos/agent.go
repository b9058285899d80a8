package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
)

// agentCommand is the argument with which this command is a program that a worker runs. It has the turns of the engine's own agents: each
// one but the last has tools.
const agentCommand = "agent"

// job is the description of a job for its program, or a message of the worker to a program that serves many jobs.
type job struct {
	Type   string `json:"type"`
	Run    int    `json:"run"`
	Task   string `json:"task"`
	Model  string `json:"model"`
	URL    string `json:"url"`
	MCPURL string `json:"mcp_url"`
	Args   struct {
		Turns int `json:"turns"`
	} `json:"args"`
}

// runAgent runs the program, for one job or for many.
func runAgent(ctx context.Context) error {
	if socket := os.Getenv("BATCHAGENT_SOCKET"); socket != "" {
		return serveAgents(ctx, socket)
	}
	text, err := os.ReadFile(os.Getenv("BATCHAGENT_JOB"))
	if err != nil {
		return fmt.Errorf("read the job: %w", err)
	}
	var j job
	if err := json.Unmarshal(text, &j); err != nil {
		return fmt.Errorf("read the job: %w", err)
	}
	output, err := j.work(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(output)
}

// serveAgents serves jobs on a Unix socket until the worker hangs up.
func serveAgents(ctx context.Context, socket string) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("serve jobs: %w", err)
	}
	defer l.Close()
	conn, err := l.Accept()
	if err != nil {
		return fmt.Errorf("serve jobs: %w", err)
	}
	defer conn.Close()
	var (
		runs    sync.WaitGroup
		mu      sync.Mutex
		cancels = map[int]context.CancelFunc{} // guarded by mu
		replies = json.NewEncoder(conn)        // guarded by mu
	)
	defer runs.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for messages := json.NewDecoder(bufio.NewReader(conn)); ; {
		var j job
		if messages.Decode(&j) != nil {
			return nil
		}
		mu.Lock()
		if cancel := cancels[j.Run]; j.Type != "job" && cancel != nil {
			cancel()
		}
		if j.Type == "job" {
			one, cancel := context.WithCancel(ctx)
			cancels[j.Run] = cancel
			runs.Go(func() {
				reply := map[string]any{"type": "answer", "run": j.Run}
				output, err := j.work(one)
				if reply["output"] = output; err != nil {
					reply = map[string]any{"type": "failed", "run": j.Run, "message": err.Error()}
				}
				mu.Lock()
				defer mu.Unlock()
				delete(cancels, j.Run)
				cancel()
				_ = replies.Encode(reply) // the worker may be gone
			})
		}
		mu.Unlock()
	}
}

const agentTools = `[{"type":"function","function":{"name":"read_note","description":"Read a note.","parameters":
	{"type":"object","properties":{"path":{"type":"string"}},"required":["path"]}}}]`

// work is the agent loop for one job.
func (j job) work(ctx context.Context) (any, error) {
	messages := []any{map[string]any{"role": "user", "content": j.Task}}
	for turn := 1; ; turn++ {
		request := map[string]any{"model": j.Model, "messages": messages}
		if turn < j.Args.Turns {
			request["tools"] = json.RawMessage(agentTools)
		}
		var answer struct {
			Choices []struct {
				Message json.RawMessage `json:"message"`
			} `json:"choices"`
		}
		if err := post(ctx, j.URL+"/v1/chat/completions", request, &answer); err != nil {
			return nil, err
		}
		var message struct {
			Content   string `json:"content"`
			ToolCalls []struct {
				ID       string `json:"id"`
				Function struct {
					Name      string `json:"name"`
					Arguments string `json:"arguments"`
				} `json:"function"`
			} `json:"tool_calls"`
		}
		if len(answer.Choices) != 1 || json.Unmarshal(answer.Choices[0].Message, &message) != nil {
			return nil, fmt.Errorf("turn %d has no answer", turn)
		}
		if turn == j.Args.Turns {
			return map[string]any{"summary": message.Content}, nil
		}
		messages = append(messages, answer.Choices[0].Message)
		for _, call := range message.ToolCalls {
			note, err := j.callTool(ctx, call.Function.Name, call.Function.Arguments)
			if err != nil {
				return nil, err
			}
			messages = append(messages, map[string]any{"role": "tool", "tool_call_id": call.ID, "content": note})
		}
	}
}

// callTool calls a tool of the batch over MCP.
func (j job) callTool(ctx context.Context, name, arguments string) (string, error) {
	var reply struct {
		Result struct {
			Content []struct {
				Text string `json:"text"`
			} `json:"content"`
		} `json:"result"`
	}
	err := post(ctx, j.MCPURL, map[string]any{
		"jsonrpc": "2.0", "id": 1, "method": "tools/call",
		"params": map[string]any{"name": name, "arguments": json.RawMessage(arguments)},
	}, &reply)
	if err == nil && len(reply.Result.Content) == 0 {
		err = fmt.Errorf("%s(%s) has no result", name, arguments)
	}
	if err != nil {
		return "", err
	}
	return reply.Result.Content[0].Text, nil
}

// agentClient keeps connections for as many jobs as a worker has.
var agentClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: agents}}

// post sends a request and decodes the answer.
func post(ctx context.Context, url string, request, answer any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("encode a request: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	resp, err := agentClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return fmt.Errorf("read an answer: %w", err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", resp.Status, text)
	}
	return json.Unmarshal(text, answer)
}

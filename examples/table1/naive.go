package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/sashabaranov/go-openai"
)

const (
	maxTurns   = 8
	maxRetries = 3
)

// naive runs one goroutine per letter. It shares nothing, has no limits, and loses all work if the process ends.
func naive(ctx context.Context, url string, letters []string, read func(context.Context, question) (string, error)) []outcome {
	config := openai.DefaultConfig("none")
	config.BaseURL = url
	config.HTTPClient = &http.Client{Timeout: 10 * time.Minute}
	a := agents{client: openai.NewClientWithConfig(config), read: read}
	if err := a.prepare(ctx); err != nil {
		return []outcome{{err: err}}
	}
	outcomes := make([]outcome, len(letters))
	var all sync.WaitGroup
	for i, letter := range letters {
		all.Go(func() { outcomes[i].verdict, outcomes[i].err = a.judge(ctx, letter) })
	}
	all.Wait()
	config.HTTPClient.(*http.Client).CloseIdleConnections()
	return outcomes
}

type agents struct {
	client *openai.Client
	read   func(context.Context, question) (string, error)
	model  string
	output *jsonschema.Resolved
	tools  []openai.Tool
	system string
}

func (a *agents) prepare(ctx context.Context) error {
	models, err := a.client.ListModels(ctx)
	if err != nil {
		return err
	}
	if len(models.Models) == 0 {
		return errors.New("the server serves no model")
	}
	a.model = models.Models[0].ID
	schema, err := jsonschema.For[verdict](nil)
	if err != nil {
		return err
	}
	text, err := json.Marshal(schema)
	if err != nil {
		return err
	}
	if a.output, err = schema.Resolve(nil); err != nil {
		return err
	}
	a.system = "Answer with one JSON value that matches this JSON Schema, and with nothing else:\n" + string(text)
	arguments, err := jsonschema.For[question](nil)
	if err != nil {
		return err
	}
	a.tools = []openai.Tool{{Type: openai.ToolTypeFunction, Function: &openai.FunctionDefinition{
		Name: "read_file", Description: "Reads a file.", Parameters: arguments,
	}}}
	return nil
}

func (a *agents) judge(ctx context.Context, letter string) (verdict, error) {
	messages := []openai.ChatCompletionMessage{
		{Role: openai.ChatMessageRoleSystem, Content: a.system},
		{Role: openai.ChatMessageRoleUser, Content: "Read policy.md with read_file, then decide whether this customer may send the goods back: " + letter},
	}
	repaired := false
	for range maxTurns {
		answer, err := a.ask(ctx, messages)
		if err != nil {
			return verdict{}, err
		}
		messages = append(messages, answer)
		if len(answer.ToolCalls) > 0 {
			for _, call := range answer.ToolCalls {
				messages = append(messages, a.call(ctx, call))
			}
			continue
		}
		v, err := a.parse(answer.Content)
		if err == nil || repaired {
			return v, err
		}
		repaired = true
		messages = append(messages, openai.ChatCompletionMessage{
			Role: openai.ChatMessageRoleUser, Content: fmt.Sprintf("Your last answer cannot be used: %v. Answer again with only the corrected JSON.", err),
		})
	}
	return verdict{}, errors.New("no answer after the last turn")
}

func (a *agents) ask(ctx context.Context, messages []openai.ChatCompletionMessage) (openai.ChatCompletionMessage, error) {
	for try := 0; ; try++ {
		response, err := a.client.CreateChatCompletion(ctx, openai.ChatCompletionRequest{Model: a.model, Messages: messages, Tools: a.tools})
		if err == nil && len(response.Choices) > 0 {
			if response.Choices[0].FinishReason == openai.FinishReasonLength {
				return openai.ChatCompletionMessage{}, errors.New("the answer was cut")
			}
			return response.Choices[0].Message, nil
		}
		if err == nil {
			err = errors.New("the server answered without a choice")
		}
		refused, isAPI := errors.AsType[*openai.APIError](err)
		if isAPI && refused.HTTPStatusCode < 500 && refused.HTTPStatusCode != http.StatusTooManyRequests || try == maxRetries {
			return openai.ChatCompletionMessage{}, err
		}
		select {
		case <-time.After(time.Duration(float64(time.Second) * float64(int(1)<<try) * (0.5 + rand.Float64()))):
		case <-ctx.Done():
			return openai.ChatCompletionMessage{}, context.Cause(ctx)
		}
	}
}

func (a *agents) call(ctx context.Context, call openai.ToolCall) openai.ChatCompletionMessage {
	result := openai.ChatCompletionMessage{Role: openai.ChatMessageRoleTool, ToolCallID: call.ID}
	var q question
	if call.Function.Name != "read_file" {
		result.Content = "Error: there is no tool " + call.Function.Name
	} else if err := json.Unmarshal([]byte(call.Function.Arguments), &q); err != nil {
		result.Content = "Error: the arguments do not fit: " + err.Error()
	} else if text, err := a.read(ctx, q); err != nil {
		result.Content = "Error: " + err.Error()
	} else {
		result.Content = text
	}
	return result
}

func (a *agents) parse(content string) (v verdict, err error) {
	text := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(content), "```json"), "```")
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return v, err
	}
	if err := a.output.Validate(value); err != nil {
		return v, err
	}
	return v, json.Unmarshal([]byte(text), &v)
}

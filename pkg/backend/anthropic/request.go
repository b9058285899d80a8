package anthropic

import (
	"encoding/json"
	"fmt"

	sdk "github.com/anthropics/anthropic-sdk-go"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/blocks"
)

// defaultMaxTokens is sent for a request without a limit, because the field is required. The smallest models of the API accept it.
const defaultMaxTokens = 4096

// params builds the body of a request. enforce is false for a model that refuses schemas.
//
// It sets up to three cache marks. The first ends the prefix that all jobs of a batch share: the tools and the system text. The second
// ends the preloaded results, which jobs with the same calls share. The third ends the conversation so far if it has tool results, so
// that the next turn reads this turn's prompt from the cache.
func params(r *backend.Request, model string, enforce bool) (sdk.MessageNewParams, error) {
	system, entries := blocks.Conversation(backend.ProtocolAnthropic, r.Messages)
	p := sdk.MessageNewParams{
		Model:         model,
		MaxTokens:     int64(r.Sampling.MaxTokens),
		Messages:      messages(entries),
		StopSequences: r.Sampling.Stop,
	}
	if p.MaxTokens <= 0 {
		p.MaxTokens = defaultMaxTokens
	}
	if t := r.Sampling.Temperature; t != nil {
		p.Temperature = sdk.Float(min(*t, 1)) // the maximum of the API
	} else if t := r.Sampling.TopP; t != nil {
		p.TopP = sdk.Float(*t) // newer models refuse both together
	}
	if err := addTools(&p, r, enforce); err != nil {
		return p, err
	}
	switch {
	case system != "":
		p.System = []sdk.TextBlockParam{{Text: system, CacheControl: sdk.NewCacheControlEphemeralParam()}}
	case len(p.Tools) > 0:
		p.Tools[len(p.Tools)-1].OfTool.CacheControl = sdk.NewCacheControlEphemeralParam()
	}
	if enforce && r.Schema != nil && (len(r.Tools) == 0 || r.ToolChoice == backend.ToolChoiceNone) {
		fields, err := schemaFields(r.Schema.JSON, true)
		if err != nil {
			return p, fmt.Errorf("schema %s: %w", r.Schema.Name, err)
		}
		schema := make(map[string]any, len(fields))
		for _, f := range fields {
			schema[f.Name] = f.Value
		}
		p.OutputConfig.Format = sdk.JSONOutputFormatParam{Schema: schema}
	}
	if len(r.Sampling.ExtraBody) > 0 {
		extra := make(map[string]any, len(r.Sampling.ExtraBody))
		for name, value := range r.Sampling.ExtraBody {
			extra[name] = value
		}
		p.SetExtraFields(extra)
	}
	return p, nil
}

func addTools(p *sdk.MessageNewParams, r *backend.Request, enforce bool) error {
	for _, t := range r.Tools {
		fields, err := schemaFields(t.Parameters, enforce && t.Strict)
		if err != nil {
			return fmt.Errorf("parameters of the tool %s: %w", t.Name, err)
		}
		tool := &sdk.ToolParam{Name: t.Name, InputSchema: sdk.ToolInputSchemaParam{ExtraFields: map[string]any{}}}
		if t.Description != "" {
			tool.Description = sdk.String(t.Description)
		}
		if enforce && t.Strict {
			tool.Strict = sdk.Bool(true)
		}
		tool.InputSchema.Properties = json.RawMessage("{}")
		for _, f := range fields {
			switch f.Name {
			case "type": // the SDK writes it
			case "properties":
				tool.InputSchema.Properties = f.Value
			case "required":
				if err := json.Unmarshal(f.Value, &tool.InputSchema.Required); err != nil {
					return fmt.Errorf("parameters of the tool %s: required: %w", t.Name, err)
				}
			default:
				tool.InputSchema.ExtraFields[f.Name] = f.Value
			}
		}
		p.Tools = append(p.Tools, sdk.ToolUnionParam{OfTool: tool})
	}
	switch {
	case len(r.Tools) == 0:
	case r.ToolChoice == backend.ToolChoiceNone:
		p.ToolChoice = sdk.ToolChoiceUnionParam{OfNone: &sdk.ToolChoiceNoneParam{}}
	case r.ToolChoice == backend.ToolChoiceRequired:
		p.ToolChoice = sdk.ToolChoiceUnionParam{OfAny: &sdk.ToolChoiceAnyParam{}}
	}
	return nil
}

func schemaFields(schema []byte, closeObjects bool) ([]blocks.Field, error) {
	if len(schema) == 0 {
		return nil, nil
	}
	if closeObjects {
		closed, err := blocks.Closed(schema)
		if err != nil {
			return nil, err
		}
		schema = closed
	}
	return blocks.Fields(schema)
}

func messages(entries []blocks.Entry) []sdk.MessageParam {
	out := make([]sdk.MessageParam, len(entries))
	hasResults := false
	for i, e := range entries {
		content := make([]sdk.ContentBlockParamUnion, len(e.Blocks))
		for j, b := range e.Blocks {
			switch {
			case b.Thought != nil && b.Thought.Redacted != "":
				content[j] = sdk.NewRedactedThinkingBlock(b.Thought.Redacted)
			case b.Thought != nil:
				content[j] = sdk.NewThinkingBlock(b.Thought.Signature, b.Thought.Text)
			case b.Call != nil:
				content[j] = sdk.NewToolUseBlock(b.Call.ID, json.RawMessage(b.Call.Arguments), b.Call.Name)
			case b.Result != "":
				hasResults = true
				content[j] = sdk.NewToolResultBlock(b.Result, b.Text, false)
			default:
				content[j] = sdk.NewTextBlock(b.Text)
				if mark := content[j].GetCacheControl(); b.Mark && mark != nil {
					*mark = sdk.NewCacheControlEphemeralParam()
				}
			}
		}
		out[i] = sdk.NewUserMessage(content...)
		if e.Assistant {
			out[i] = sdk.NewAssistantMessage(content...)
		}
	}
	if hasResults {
		last := out[len(out)-1].Content
		if mark := last[len(last)-1].GetCacheControl(); mark != nil {
			*mark = sdk.NewCacheControlEphemeralParam()
		}
	}
	return out
}

package anthropic

import (
	"encoding/json"
	"errors"
	"fmt"

	sdk "github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/packages/param"

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
	msgs, err := messages(entries)
	if err != nil {
		return sdk.MessageNewParams{}, err
	}
	p := sdk.MessageNewParams{
		Model:         model,
		MaxTokens:     int64(r.Sampling.MaxTokens),
		Messages:      msgs,
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
	if r.SendsSchema() && r.Schema.JSON == nil {
		return p, errors.New("this API has no JSON mode without a schema; send a JSON schema, or ask for JSON in the prompt")
	}
	if enforce && r.SendsSchema() {
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
	if len(r.Tools) > 0 {
		p.ToolChoice = toolChoice(r)
	}
	return nil
}

// toolChoice encodes the tool choice of a request; empty for the API's default.
func toolChoice(r *backend.Request) sdk.ToolChoiceUnionParam {
	var one param.Opt[bool]
	if r.OneCall {
		one = sdk.Bool(true)
	}
	switch {
	case r.ToolChoice == backend.ToolChoiceNone:
		return sdk.ToolChoiceUnionParam{OfNone: &sdk.ToolChoiceNoneParam{}}
	case r.ToolChoice == backend.ToolChoiceRequired && r.MustCall != "":
		return sdk.ToolChoiceUnionParam{OfTool: &sdk.ToolChoiceToolParam{Name: r.MustCall, DisableParallelToolUse: one}}
	case r.ToolChoice == backend.ToolChoiceRequired:
		return sdk.ToolChoiceUnionParam{OfAny: &sdk.ToolChoiceAnyParam{DisableParallelToolUse: one}}
	case r.OneCall:
		return sdk.ToolChoiceUnionParam{OfAuto: &sdk.ToolChoiceAutoParam{DisableParallelToolUse: one}}
	}
	return sdk.ToolChoiceUnionParam{}
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

func messages(entries []blocks.Entry) ([]sdk.MessageParam, error) {
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
				if len(b.Parts) > 0 {
					parts, err := resultParts(b.Parts)
					if err != nil {
						return nil, fmt.Errorf("message %d: %w", i, err)
					}
					content[j].OfToolResult.Content = parts
				}
			case b.Part != nil:
				image, err := imageBlock(b.Part)
				if err != nil {
					return nil, fmt.Errorf("message %d: %w", i, err)
				}
				content[j].OfImage = image
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
	return out, nil
}

func imageBlock(p *backend.Part) (*sdk.ImageBlockParam, error) {
	image, err := blocks.ImageOf(p)
	switch {
	case err != nil:
		return nil, err
	case image.URL != "":
		return sdk.NewImageBlock(sdk.URLImageSourceParam{URL: image.URL}).OfImage, nil
	}
	return sdk.NewImageBlockBase64("image/"+image.Format, image.Base64).OfImage, nil
}

// resultParts encodes the result of a tool that is more than one text.
func resultParts(parts []backend.Part) ([]sdk.ToolResultBlockParamContentUnion, error) {
	out := make([]sdk.ToolResultBlockParamContentUnion, len(parts))
	for i := range parts {
		if p := &parts[i]; p.Text != "" {
			out[i].OfText = &sdk.TextBlockParam{Text: p.Text}
			continue
		}
		image, err := imageBlock(&parts[i])
		if err != nil {
			return nil, err
		}
		out[i].OfImage = image
	}
	return out, nil
}

package bedrock

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/document"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	smithydocument "github.com/aws/smithy-go/document"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/blocks"
)

// takes are the abilities that a model is assumed to have.
type takes struct {
	streaming, schemas bool
	reasoning          bool // accepts its own reasoning in a conversation
	caching            bool // cache points in the system text and the messages
	toolCaching        bool // also after the tools
}

// believed returns the abilities of the model's family, without the refused ones.
func (b *Backend) believed(model string) takes {
	claude := strings.Contains(model, "anthropic.claude")
	cache := (claude || strings.Contains(model, "amazon.nova")) && !b.refusals.Has(model, caching)
	return takes{
		streaming:   !b.refusals.Has(model, streaming),
		schemas:     !b.refusals.Has(model, schemas),
		reasoning:   !b.refusals.Has(model, reasoning),
		caching:     cache,
		toolCaching: cache && claude,
	}
}

// input builds a request. Cache points end the prefix that all jobs of a batch share (tools and system text). Another
// one ends the conversation so far if it has tool results.
func input(r *backend.Request, model string, can takes) (*bedrockruntime.ConverseInput, error) {
	msgs := r.Messages
	if !can.reasoning {
		msgs = blocks.WithoutReasoning(msgs)
	}
	system, entries := blocks.Conversation(backend.ProtocolBedrock, msgs)
	in := &bedrockruntime.ConverseInput{ModelId: &model, InferenceConfig: inference(r.Sampling)}
	if system != "" {
		in.System = []types.SystemContentBlock{&types.SystemContentBlockMemberText{Value: system}}
		if can.caching {
			in.System = append(in.System, &types.SystemContentBlockMemberCachePoint{Value: cachePoint})
		}
	}
	for _, t := range r.Tools {
		spec, err := tool(t, can.schemas)
		if err != nil {
			return nil, err
		}
		if in.ToolConfig == nil {
			in.ToolConfig = &types.ToolConfiguration{}
		}
		in.ToolConfig.Tools = append(in.ToolConfig.Tools, spec)
	}
	if in.ToolConfig != nil && system == "" && can.toolCaching {
		in.ToolConfig.Tools = append(in.ToolConfig.Tools, &types.ToolMemberCachePoint{Value: cachePoint})
	}
	if len(r.Sampling.ExtraBody) > 0 {
		// Converse has a separate field for parameters of one family of models.
		raw, err := json.Marshal(r.Sampling.ExtraBody)
		if err != nil {
			return nil, fmt.Errorf("extra fields: %w", err)
		}
		if in.AdditionalModelRequestFields, err = asDocument(raw); err != nil {
			return nil, fmt.Errorf("extra fields: %w", err)
		}
	}
	if in.ToolConfig != nil && r.ToolChoice == backend.ToolChoiceRequired {
		in.ToolConfig.ToolChoice = &types.ToolChoiceMemberAny{}
		if r.MustCall != "" {
			in.ToolConfig.ToolChoice = &types.ToolChoiceMemberTool{Value: types.SpecificToolChoice{Name: &r.MustCall}}
		}
	}
	var err error
	if in.Messages, err = messages(entries, can.caching); err != nil {
		return nil, err
	}
	if r.SendsSchema() && r.Schema.JSON == nil {
		return nil, errors.New("a JSON mode without a schema is not available on Bedrock; send a JSON schema, or ask for JSON in the prompt")
	}
	if can.schemas && r.SendsSchema() {
		closed, err := blocks.Closed(r.Schema.JSON)
		if err != nil {
			return nil, fmt.Errorf("schema %s: %w", r.Schema.Name, err)
		}
		in.OutputConfig = &types.OutputConfig{TextFormat: &types.OutputFormat{
			Type: types.OutputFormatTypeJsonSchema,
			Structure: &types.OutputFormatStructureMemberJsonSchema{Value: types.JsonSchemaDefinition{
				Name: &r.Schema.Name, Schema: aws.String(string(closed)),
			}},
		}}
	}
	return in, nil
}

var cachePoint = types.CachePointBlock{Type: types.CachePointTypeDefault}

func inference(s backend.Sampling) *types.InferenceConfiguration {
	out := &types.InferenceConfiguration{StopSequences: s.Stop}
	if s.MaxTokens > 0 {
		out.MaxTokens = aws.Int32(int32(min(s.MaxTokens, math.MaxInt32))) //nolint:gosec // limited above
	}
	if s.Temperature != nil {
		out.Temperature = aws.Float32(float32(*s.Temperature))
	} else if s.TopP != nil {
		out.TopP = aws.Float32(float32(*s.TopP)) // newer models refuse both together
	}
	return out
}

func tool(t backend.Tool, strict bool) (types.Tool, error) {
	schema := t.Parameters
	if len(schema) == 0 {
		schema = []byte(`{"type":"object","properties":{}}`)
	}
	strict = strict && t.Strict
	if strict {
		closed, err := blocks.Closed(schema)
		if err != nil {
			return nil, fmt.Errorf("parameters of the tool %s: %w", t.Name, err)
		}
		schema = closed
	}
	doc, err := asDocument(schema)
	if err != nil {
		return nil, fmt.Errorf("parameters of the tool %s: %w", t.Name, err)
	}
	spec := types.ToolSpecification{Name: &t.Name, InputSchema: &types.ToolInputSchemaMemberJson{Value: doc}}
	if t.Description != "" {
		spec.Description = &t.Description
	}
	if strict {
		spec.Strict = aws.Bool(true)
	}
	return &types.ToolMemberToolSpec{Value: spec}, nil
}

func messages(entries []blocks.Entry, cache bool) ([]types.Message, error) {
	out := make([]types.Message, len(entries))
	hasResults := false
	for i, e := range entries {
		m := &out[i]
		m.Role = types.ConversationRoleUser
		if e.Assistant {
			m.Role = types.ConversationRoleAssistant
		}
		for _, b := range e.Blocks {
			switch {
			case b.Thought != nil:
				block, err := reasoningBlock(*b.Thought)
				if err != nil {
					return nil, err
				}
				m.Content = append(m.Content, block)
			case b.Call != nil:
				doc, err := asDocument([]byte(b.Call.Arguments))
				if err != nil {
					return nil, fmt.Errorf("arguments of the call %s: %w", b.Call.ID, err)
				}
				m.Content = append(m.Content, &types.ContentBlockMemberToolUse{Value: types.ToolUseBlock{
					Name: &b.Call.Name, ToolUseId: &b.Call.ID, Input: doc}})
			case b.Result != "":
				hasResults = true
				result := []types.ToolResultContentBlock{&types.ToolResultContentBlockMemberText{Value: b.Text}}
				if len(b.Parts) > 0 {
					var err error
					if result, err = resultParts(b.Parts); err != nil {
						return nil, fmt.Errorf("message %d: %w", i, err)
					}
				}
				m.Content = append(m.Content, &types.ContentBlockMemberToolResult{Value: types.ToolResultBlock{ToolUseId: &b.Result, Content: result}})
			case b.Part != nil:
				image, err := imageBlock(b.Part)
				if err != nil {
					return nil, fmt.Errorf("message %d: %w", i, err)
				}
				m.Content = append(m.Content, &types.ContentBlockMemberImage{Value: image})
			default:
				m.Content = append(m.Content, &types.ContentBlockMemberText{Value: b.Text})
				if b.Mark && cache {
					m.Content = append(m.Content, &types.ContentBlockMemberCachePoint{Value: cachePoint})
				}
			}
		}
	}
	if hasResults && cache {
		if last := &out[len(out)-1]; last.Role == types.ConversationRoleUser {
			last.Content = append(last.Content, &types.ContentBlockMemberCachePoint{Value: cachePoint})
		}
	}
	return out, nil
}

// imageBlock encodes an image. Bedrock does not fetch URLs.
func imageBlock(p *backend.Part) (types.ImageBlock, error) {
	image, err := blocks.ImageOf(p)
	if err != nil {
		return types.ImageBlock{}, err
	}
	if image.URL != "" {
		return types.ImageBlock{}, fmt.Errorf("images with a URL are not available on Bedrock; send the image itself as a data URL instead of %.80q", image.URL)
	}
	data, err := base64.StdEncoding.DecodeString(image.Base64)
	if err != nil {
		return types.ImageBlock{}, fmt.Errorf("an image is not valid base64: %w", err)
	}
	return types.ImageBlock{Format: types.ImageFormat(image.Format), Source: &types.ImageSourceMemberBytes{Value: data}}, nil
}

// resultParts encodes the result of a tool that is more than one text.
func resultParts(parts []backend.Part) ([]types.ToolResultContentBlock, error) {
	out := make([]types.ToolResultContentBlock, len(parts))
	for i := range parts {
		if p := &parts[i]; p.Text != "" {
			out[i] = &types.ToolResultContentBlockMemberText{Value: p.Text}
			continue
		}
		image, err := imageBlock(&parts[i])
		if err != nil {
			return nil, err
		}
		out[i] = &types.ToolResultContentBlockMemberImage{Value: image}
	}
	return out, nil
}

// reasoningBlock encodes a block of reasoning.
func reasoningBlock(t blocks.Thought) (types.ContentBlock, error) {
	if t.Redacted != "" {
		data, err := base64.StdEncoding.DecodeString(t.Redacted)
		if err != nil {
			return nil, fmt.Errorf("redacted reasoning: %w", err)
		}
		return &types.ContentBlockMemberReasoningContent{Value: &types.ReasoningContentBlockMemberRedactedContent{Value: data}}, nil
	}
	text := types.ReasoningTextBlock{Text: &t.Text}
	if t.Signature != "" {
		text.Signature = &t.Signature
	}
	return &types.ContentBlockMemberReasoningContent{Value: &types.ReasoningContentBlockMemberReasoningText{Value: text}}, nil
}

// asDocument converts JSON to the SDK's document. Numbers keep their digits.
func asDocument(raw []byte) (document.Interface, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return document.NewLazyDocument(withNumbers(v)), nil
}

// withNumbers replaces encoding/json's numbers by the SDK's, in place if possible.
func withNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		return smithydocument.Number(v)
	case map[string]any:
		for k := range v {
			v[k] = withNumbers(v[k])
		}
	case []any:
		for i := range v {
			v[i] = withNumbers(v[i])
		}
	}
	return v
}

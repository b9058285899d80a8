package vllmsim

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

const (
	maxStops = 4
	maxSalt  = 128
)

// toolMode is the effect of tool_choice.
type toolMode int

const (
	toolsOff toolMode = iota
	toolsAuto
	toolsRequired
	toolsNamed
)

// prompt is a request that passed validation, ready to run.
type prompt struct {
	req        *chatRequest
	tools      *toolset // nil without tools
	mode       toolMode
	named      int // index of the tool in tool_choice, for toolsNamed
	stops      []string
	schema     *answerSchema // the schema of the answer; nil for free text
	enforced   bool          // the schema is in the request's own fields, not in the prompt
	tokens     chain
	maxOutput  int
	salt       string
	toolTurns  int
	wantsUsage bool
}

// prepare validates a request in the order of the real server: body, model, prompt, sampling.
func (s *Server) prepare(req *chatRequest) (*prompt, *apiError) {
	p := &prompt{req: req, toolTurns: max(0, s.cfg.ToolTurns), wantsUsage: req.StreamOptions != nil && req.StreamOptions.IncludeUsage}
	for _, check := range []func(*prompt) *apiError{
		checkStream, checkStops, checkSalt, s.checkTools, s.checkModel, s.checkFormat, s.checkPrompt, s.checkSampling,
	} {
		if err := check(p); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func checkStream(p *prompt) *apiError {
	if p.req.StreamOptions != nil && !p.req.Stream {
		return badParam("stream_options", "Stream options can only be defined when `stream=True`.")
	}
	return nil
}

func checkStops(p *prompt) *apiError {
	raw := p.req.Stop
	if !present(raw) {
		return nil
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		p.stops = []string{one}
		return nil
	}
	input := "<value>"
	details := ""
	if err := json.Unmarshal(raw, &p.stops); err == nil {
		if len(p.stops) <= maxStops {
			return nil
		}
		input = fmt.Sprintf("<list of %d items>", len(p.stops))
		details = fmt.Sprintf("\n  {'type': 'too_long', 'loc': 'body.stop', 'msg': 'List should have at most %d items after validation, not %d', 'input': '%s', 'ctx': {'field_type': 'List', 'max_length': %d, 'actual_length': %d}}",
			maxStops, len(p.stops), input, maxStops, len(p.stops))
	}
	return badBody("body.stop", "2 validation errors:\n  {'type': 'string_type', 'loc': 'body.stop', 'msg': 'Input should be a valid string', 'input': '"+input+"'}"+details)
}

func checkSalt(p *prompt) *apiError {
	if p.req.CacheSalt == nil {
		return nil
	}
	p.salt = *p.req.CacheSalt
	if p.salt == "" {
		return badParam("cache_salt", "Parameter 'cache_salt' must be a non-empty string if provided.")
	}
	if len(p.salt) > maxSalt || strings.ContainsAny(p.salt, "@/\\\x00") {
		return badParam("cache_salt", `Parameter 'cache_salt' must be at most 128 characters and must not contain '@', '/', '\\', or NUL.`)
	}
	return nil
}

func (s *Server) checkTools(p *prompt) *apiError {
	if !present(p.req.Tools) {
		p.req.Tools = nil
		if present(p.req.ToolChoice) && string(p.req.ToolChoice) != `"none"` {
			return badParam("tool_choice", "When using `tool_choice`, `tools` must be set.")
		}
		return nil
	}
	tools, err := s.tools(p.req.Tools)
	if err != nil {
		return err
	}
	p.tools, p.mode = tools, toolsAuto
	if !present(p.req.ToolChoice) {
		return nil
	}
	var word string
	if json.Unmarshal(p.req.ToolChoice, &word) == nil {
		switch word {
		case "auto":
		case "none":
			p.mode = toolsOff
		case "required":
			p.mode = toolsRequired
		default:
			return badParam("tool_choice", "Invalid value for `tool_choice`: `%s`! Only named tools, \"none\", \"auto\" or \"required\" are supported.", word)
		}
		return nil
	}
	var named struct {
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	}
	if json.Unmarshal(p.req.ToolChoice, &named) != nil {
		return badParam("tool_choice", "Invalid value for `tool_choice`.")
	}
	for i, t := range tools.list {
		if t.name == named.Function.Name {
			p.mode, p.named = toolsNamed, i
			return p.checkNamed()
		}
	}
	return badParam("tool_choice", "The tool specified in `tool_choice` does not match any of the specified `tools`")
}

func (p *prompt) checkNamed() *apiError {
	if so := p.req.StructuredOutputs; so != nil && (present(so.JSON) || so.Regex != nil || len(so.Choice) > 0) {
		return badRequest("You can only either use constraints for structured outputs or tools, not both.")
	}
	return nil
}

func (s *Server) checkModel(p *prompt) *apiError {
	return s.knownModel(p.req.Model)
}

// knownModel accepts the served model, and an empty name.
func (s *Server) knownModel(name string) *apiError {
	if name == "" || name == s.cfg.Model {
		return nil
	}
	return &apiError{
		status: 404, kind: "NotFoundError", param: "model",
		message: fmt.Sprintf("The model `%s` does not exist. Valid aliases: %s.", name, s.cfg.Model),
	}
}

func (s *Server) checkFormat(p *prompt) *apiError {
	var raw json.RawMessage
	if f := p.req.ResponseFormat; f != nil {
		switch f.Type {
		case "json_object":
			raw = json.RawMessage(`{"type":"object","properties":{"answer":{"type":"string"}},"required":["answer"]}`)
		case "json_schema":
			if f.JSONSchema == nil || !present(f.JSONSchema.Schema) {
				return badParam("response_format", "When response_format type is 'json_schema', the 'json_schema' field must be provided.")
			}
			raw = f.JSONSchema.Schema
		}
	}
	if so := p.req.StructuredOutputs; so != nil && present(so.JSON) {
		raw = so.JSON
	}
	if raw == nil {
		p.schema = s.schemas.inMessages(p.req.Messages)
		return nil
	}
	schema, err := s.schemas.compile(raw)
	if err != nil {
		return badRequest("Grammar error: %s", err)
	}
	p.schema, p.enforced = schema, true
	return nil
}

func (s *Server) checkPrompt(p *prompt) *apiError {
	if len(p.req.Messages) == 0 {
		return badRequest("Cannot apply chat template to an empty conversation. Provide at least one message.")
	}
	if p.salt != "" {
		p.tokens.hash = hashOf(p.salt)
	}
	render(&p.tokens, p.req.Messages, p.req.Tools, true)
	// At least one token of output must fit after the prompt.
	if limit := s.cfg.MaxModelLen; p.tokens.tokens >= limit {
		return badValue("input_tokens", limit+1, "This model's maximum context length is %d tokens. However, your prompt contains at least %d input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt.", limit, limit+1)
	}
	return nil
}

func (s *Server) checkSampling(p *prompt) *apiError {
	if n := p.req.N; n != nil && *n != 1 {
		return badValue("n", *n, "The simulated server writes one choice per request: n must be 1, got %d.", *n)
	}
	if t := p.req.Temperature; t != nil && *t < 0 {
		text := pythonFloat(*t)
		return badValue("temperature", text, "temperature must be non-negative, got %s.", text)
	}
	p.maxOutput = s.cfg.MaxModelLen - p.tokens.tokens
	want, param := p.req.MaxCompletionTokens, "max_completion_tokens"
	if want == nil {
		want, param = p.req.MaxTokens, "max_tokens"
	}
	if want == nil {
		return nil
	}
	if *want < 1 {
		return badValue(param, *want, "max_tokens must be at least 1, got %d.", *want)
	}
	if *want > s.cfg.MaxModelLen {
		return badValue(param, *want, "%s=%d cannot be greater than max_model_len=%d. Please request fewer output tokens.", param, *want, s.cfg.MaxModelLen)
	}
	p.maxOutput = min(p.maxOutput, *want)
	return nil
}

func hashOf(salt string) uint64 {
	var c chain
	c.text(salt)
	return c.hash
}

// pythonFloat formats a number like the real server, always with a decimal point.
func pythonFloat(f float64) string {
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

package openai

import (
	"context"
	"errors"
	"hash/fnv"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
	"github.com/batchagent/batchagent/pkg/backend/openaichat"
)

// Generate runs one model call as a stream. See [backend.Backend].
//
// A refusal that names a field which the model does not take (temperature on a reasoning model, a keyword of a schema)
// is remembered and told in the log once, and the call is made again without that field. A refused call costs nothing.
func (b *Backend) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	model, err := b.ModelOr(ctx, r.Model)
	if err != nil {
		return nil, err
	}
	for left := map[string]bool{}; ; {
		call, origin := b.adapt(model, r)
		var resp *backend.Response
		resp, err = b.Client.Generate(ctx, call, origin.observer(o))
		if err == nil {
			b.answers()
			origin.restore(resp)
			return resp, nil
		}
		part := b.unwanted(call, r, err)
		if part == "" || left[part] {
			break
		}
		left[part] = true
		if b.refusals.Add(model, part) {
			b.log.Warn("the model does not take a part of the request; it is left away from now on",
				"endpoint", b.Endpoint(), "model", model, "part", part)
		}
	}
	if backend.ClassOf(err) == backend.Transient {
		b.answered.Store(nil)
	}
	return nil, err
}

// adapt makes of a request one that the model takes, as far as is known. origin undoes what it did to schemas.
func (b *Backend) adapt(model string, r *backend.Request) (*backend.Request, origin) {
	call := *r
	call.Model = model
	s := &call.Sampling
	if b.refusals.Has(model, "temperature") {
		s.Temperature = nil
	}
	if b.refusals.Has(model, "top_p") {
		s.TopP = nil
	}
	if b.refusals.Has(model, "seed") {
		s.Seed = nil
	}
	if b.refusals.Has(model, "stop") {
		s.Stop = nil
	}
	var from origin
	if r.Schema != nil {
		schema := *r.Schema
		if form := b.strictForm(model, schema.JSON); form != nil {
			schema.JSON = []byte(form.schema)
			if form.nullable {
				from.schema = r.Schema.JSON
			}
		} else {
			schema.Loose = true
		}
		call.Schema = &schema
		if b.refusals.Has(model, "response_format") {
			call.Schema = nil
		}
	}
	call.Tools = slices.Clone(r.Tools)
	for i, t := range call.Tools {
		form := b.strictForm(model, t.Parameters)
		call.Tools[i].Strict = form != nil && (b.own || t.Strict) && !b.refusals.Has(model, "tools")
		if !call.Tools[i].Strict {
			continue
		}
		call.Tools[i].Parameters = []byte(form.schema)
		if form.nullable {
			if from.tools == nil {
				from.tools = map[string][]byte{}
			}
			from.tools[t.Name] = t.Parameters
		}
	}
	return &call, from
}

// strictForm returns a schema's strict form; nil if it has none, or the model refused it.
func (b *Backend) strictForm(model string, schema []byte) *strict {
	if b.refusals.Has(model, schemaName(schema)) {
		return nil
	}
	if form, ok := b.strict.Get(string(schema)); ok {
		return form
	}
	var form *strict
	if s, ok := strictly(schema); ok {
		form = &s
	}
	b.strict.Add(string(schema), form)
	return form
}

// otherLimit is that a model knows the token limit by the other of its two names.
const otherLimit = "the name of the token limit"

// schemaName names a strict schema among what was refused.
func schemaName(schema []byte) string {
	h := fnv.New64a()
	_, _ = h.Write(schema) // never fails
	return "strict output schema " + strconv.FormatUint(h.Sum64(), 36)
}

// fields are those of a request that a model may not take, each after those whose names are in its own.
var fields = []string{
	"temperature", "top_p", "seed", "prompt_cache_key", "max_completion_tokens", "max_tokens", "response_format", "tools", "stop",
}

// refusing are the words of servers that do not know a field, as opposed to a bad value of it.
var refusing = []string{
	"unsupported", "not supported", "not support", "unknown", "unrecognized", "unexpected", "not permitted", "not allowed", "unavailable",
	"invalid schema", "invalid json schema",
}

// unwanted names the part for which a call was refused, if it can be left away; "" if not. Two calls side by side may be
// refused for the same one.
func (b *Backend) unwanted(call, r *backend.Request, err error) string {
	e, ok := errors.AsType[*backend.Error](err)
	if !ok || e.Class != backend.InvalidRequest || e.Status != http.StatusBadRequest && e.Status != http.StatusUnprocessableEntity {
		return ""
	}
	refusal, _ := errors.AsType[openaichat.Refusal](err)
	words := strings.ToLower(e.Message)
	coded := strings.HasPrefix(refusal.Code, "unsupported_") || strings.HasPrefix(refusal.Code, "unknown_")
	if !coded && !endpoint.Mentions(words, refusing...) {
		return ""
	}
	field := ""
	for _, f := range fields {
		if refusal.Param == f || strings.HasPrefix(refusal.Param, f+".") || strings.HasPrefix(refusal.Param, f+"[") ||
			refusal.Param == "" && (strings.Contains(words, f) || f == "tools" && strings.Contains(words, "schema for function")) {
			field = f
			break
		}
	}
	switch {
	case field == "" || !b.sends(call, field):
		return ""
	case field == "response_format" && !call.Schema.Loose && endpoint.Mentions(words, "schema"):
		return schemaName(r.Schema.JSON)
	case strings.HasPrefix(field, "max_"):
		return otherLimit
	default:
		return field
	}
}

// sends reports whether a call has a field in a form that can be left away.
func (b *Backend) sends(call *backend.Request, field string) bool {
	switch s := call.Sampling; field {
	case "temperature":
		return s.Temperature != nil
	case "top_p":
		return s.TopP != nil
	case "seed":
		return s.Seed != nil
	case "stop":
		return len(s.Stop) > 0
	case "prompt_cache_key":
		return b.own && call.Hints.Session != ""
	case "response_format":
		return call.Schema != nil
	case "tools":
		return slices.ContainsFunc(call.Tools, func(t backend.Tool) bool { return t.Strict })
	default: // the name of the token limit: there is one other
		return s.MaxTokens > 0 && b.own == (field == "max_completion_tokens")
	}
}

// origin knows the schemas of which a request has a strict form with nulls.
type origin struct {
	schema []byte
	tools  map[string][]byte
}

func (f origin) observer(o backend.Observer) backend.Observer {
	if tell := o.ToolCall; tell != nil && f.tools != nil {
		o.ToolCall = func(i int, c backend.ToolCall) { tell(i, f.call(c)) }
	}
	return o
}

func (f origin) call(c backend.ToolCall) backend.ToolCall {
	if schema, ok := f.tools[c.Name]; ok {
		c.Arguments = withoutNulls(schema, c.Arguments)
	}
	return c
}

// restore takes out of a response the nulls that the strict form made the model write.
func (f origin) restore(resp *backend.Response) {
	if f.schema != nil {
		resp.Message.Content = withoutNulls(f.schema, resp.Message.Content)
	}
	for i, c := range resp.Message.ToolCalls {
		resp.Message.ToolCalls[i] = f.call(c)
	}
}

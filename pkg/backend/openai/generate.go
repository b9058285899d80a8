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
// If a model refuses the strict form of a schema, that is remembered, and the call is repeated with the original
// schema. A refused call costs nothing. The embedded client does the same for fields.
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
			b.log.Warn("the model refuses the strict form of a schema; the original schema is sent from now on",
				"endpoint", b.Endpoint(), "model", model, "part", part)
		}
	}
	if backend.ClassOf(err) == backend.Transient {
		b.answered.Store(nil)
	}
	return nil, err
}

// adapt returns a request without the forms that the model refused. origin reverses the changes to schemas.
func (b *Backend) adapt(model string, r *backend.Request) (*backend.Request, origin) {
	call := *r
	call.Model = model
	var from origin
	if r.Schema != nil && r.Schema.JSON != nil {
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

// schemaName returns the name of a strict schema among the refusals.
func schemaName(schema []byte) string {
	h := fnv.New64a()
	_, _ = h.Write(schema) // never fails
	return "strict output schema " + strconv.FormatUint(h.Sum64(), 36)
}

// refusing are phrases of servers that refuse a schema in this form, as opposed to a bad value of another field.
var refusing = []string{
	"unsupported", "not supported", "not support", "unknown", "unrecognized", "unexpected", "not permitted", "not allowed", "unavailable",
	"invalid schema", "invalid json schema", "mixed values",
}

// unwanted returns the strict form for which a call was refused; "" for any other reason. Simultaneous calls may be
// refused for the same form.
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
	about := func(field string) bool {
		return refusal.Param == field || strings.HasPrefix(refusal.Param, field+".") || strings.HasPrefix(refusal.Param, field+"[") ||
			refusal.Param == "" && strings.Contains(words, field)
	}
	switch {
	case call.Schema != nil && !call.Schema.Loose && about("response_format"):
		return schemaName(r.Schema.JSON)
	case slices.ContainsFunc(call.Tools, func(t backend.Tool) bool { return t.Strict }) &&
		(about("tools") || about("strict") || strings.Contains(words, "schema for function")):
		return "tools"
	}
	return ""
}

// origin holds the original schemas of the strict forms with nulls.
type origin struct {
	schema []byte
	tools  map[string][]byte
}

func (f origin) observer(o backend.Observer) backend.Observer {
	if f.schema != nil {
		o.Text = nil // the text changes at the end
	}
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

// restore removes the nulls that the strict form made the model write from a response.
func (f origin) restore(resp *backend.Response) {
	if f.schema != nil {
		resp.Message.Content = withoutNulls(f.schema, resp.Message.Content)
	}
	for i, c := range resp.Message.ToolCalls {
		resp.Message.ToolCalls[i] = f.call(c)
	}
}

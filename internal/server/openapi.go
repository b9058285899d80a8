package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/internal/version"
)

// object is a JSON object in the document.
type object = map[string]any

// document returns the OpenAPI 3.1 document of the API's routes, https://spec.openapis.org/oas/v3.1.1.html. The schemas
// come from the Go types that the handlers write.
func document(routes []route) ([]byte, error) {
	d := &describer{schemas: object{}}
	paths := object{}
	for _, r := range routes {
		if r.api == nil {
			continue
		}
		method, path := r.split()
		item, ok := paths[path].(object)
		if !ok {
			item = object{}
			paths[path] = item
		}
		op, err := d.operation(r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.pattern, err)
		}
		item[strings.ToLower(method)] = op
	}
	return json.MarshalIndent(object{
		"openapi": "3.1.0",
		"info": object{
			"title": "batchagent", "version": version.String(), "license": object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
			"description": "Submit, watch, collect and control batches of LLM agents.",
		},
		"servers":  []any{object{"url": "/"}},
		"security": []any{object{"bearer": []any{}}},
		"paths":    paths,
		"components": object{
			"schemas":         d.schemas,
			"securitySchemes": object{"bearer": object{"type": "http", "scheme": "bearer"}},
		},
	}, "", " ")
}

// describer collects the schemas that operations refer to.
type describer struct{ schemas object }

var inPath = regexp.MustCompile(`\{(\w+)\}`)

func (d *describer) operation(r route) (object, error) {
	_, path := r.split()
	op := object{"operationId": r.api.id, "summary": r.api.summary}
	if r.api.text != "" {
		op["description"] = r.api.text
	}
	if openPath(path) {
		op["security"] = []any{}
	}
	var params []any
	for _, m := range inPath.FindAllStringSubmatch(path, -1) {
		kind := object{"type": "string"}
		if m[1] == "index" {
			kind = object{"type": "integer", "minimum": 0}
		}
		params = append(params, object{"name": m[1], "in": "path", "required": true, "schema": kind})
	}
	for _, p := range r.api.params {
		described, err := d.param(p)
		if err != nil {
			return nil, err
		}
		described["name"], described["in"] = p.name, p.in
		params = append(params, described)
	}
	if params != nil {
		op["parameters"] = params
	}
	if r.api.body != nil {
		content := object{}
		for _, media := range slices.Sorted(maps.Keys(r.api.body)) {
			text, isText := r.api.body[media].(string)
			schema := any(object{"description": text})
			if !isText {
				var err error
				if schema, err = schemaOf(reflect.TypeOf(r.api.body[media])); err != nil {
					return nil, err
				}
			}
			content[media] = object{"schema": schema}
		}
		op["requestBody"] = object{"required": true, "content": content}
	}
	answers := object{}
	for _, a := range append(slices.Clone(r.api.answers), answer{text: "an error", media: "application/problem+json", body: Problem{}}) {
		status := "default"
		if a.status != 0 {
			status = strconv.Itoa(a.status)
		}
		described, err := d.answer(a)
		if err != nil {
			return nil, err
		}
		answers[status] = described
	}
	op["responses"] = answers
	return op, nil
}

func (d *describer) param(p param) (object, error) {
	schema, err := schemaOf(reflect.TypeOf(p.kind))
	return object{"description": p.text, "schema": schema}, err
}

func (d *describer) answer(a answer) (object, error) {
	out := object{"description": a.text}
	media := a.media
	if media == "" {
		media = "application/json"
	}
	schema := object{}
	if a.body != nil {
		t := reflect.TypeOf(a.body)
		if d.schemas[t.Name()] == nil {
			s, err := schemaOf(t)
			if err != nil {
				return nil, err
			}
			d.schemas[t.Name()] = s
		}
		schema["$ref"] = "#/components/schemas/" + t.Name()
	} else if media != "application/json" {
		schema["type"] = "string"
	}
	out["content"] = object{media: object{"schema": schema}}
	headers := object{}
	for _, h := range a.headers {
		described, err := d.param(h)
		if err != nil {
			return nil, err
		}
		headers[h.name] = described
	}
	if len(headers) > 0 {
		out["headers"] = headers
	}
	return out, nil
}

// schemaOf returns the schema of a type. It allows unknown fields, because later versions may add fields.
func schemaOf(t reflect.Type) (object, error) {
	s, err := jsonschema.ForType(t, &jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[json.RawMessage]():    {},
		reflect.TypeFor[operation.Duration](): {Type: "string", Description: "a duration such as 168h"},
	}})
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	var out object
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, err
	}
	open(out)
	return out, nil
}

func open(v any) {
	switch v := v.(type) {
	case object:
		if f, given := v["additionalProperties"]; given && (f == false || reflect.DeepEqual(f, object{"not": object{}})) {
			delete(v, "additionalProperties")
		}
		for _, inner := range v {
			open(inner)
		}
	case []any:
		for _, inner := range v {
			open(inner)
		}
	}
}

func (s *Server) openAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	_, err := w.Write(s.openapi)
	return err
}

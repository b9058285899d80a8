package agent

import (
	"encoding/json"
	"fmt"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/schema"
)

// Program is what all jobs of a batch share on one worker, compiled once. It is immutable and safe for concurrent use.
type Program struct {
	plan   *spec.Plan
	model  backend.Model
	tools  []backend.Tool
	effect map[string]bool // tools with side effects, by name
	schema *schema.Schema
	format *backend.Schema // the schema as a server takes it
}

// Compile prepares a plan for the tools and the model that will run it. tools are those that the plan names.
func Compile(plan *spec.Plan, tools []toolpool.Tool, model backend.Model) (*Program, error) {
	p := &Program{plan: plan, model: model, effect: make(map[string]bool)}
	for _, t := range tools {
		p.tools = append(p.tools, backend.Tool{
			Name: t.Name, Description: t.Description, Parameters: t.Parameters, Strict: closed(t.Parameters),
		})
		p.effect[t.Name] = t.Share == toolpool.Effect
	}
	if len(plan.Schema) == 0 {
		return p, nil
	}
	var err error
	if p.schema, err = schema.Compile(plan.Schema); err != nil {
		return nil, fmt.Errorf("output schema of %s: %w", plan.Name, err)
	}
	p.format = &backend.Schema{Name: "output", JSON: plan.Schema}
	return p, nil
}

// closed reports whether a schema's objects allow no further properties, which servers ask for before they bind
// arguments to it.
func closed(parameters []byte) bool {
	var s struct {
		Type                 string                     `json:"type"`
		AdditionalProperties *bool                      `json:"additionalProperties"`
		Properties           map[string]json.RawMessage `json:"properties"`
	}
	if json.Unmarshal(parameters, &s) != nil {
		return false
	}
	if s.Type != "object" {
		return true
	}
	if s.AdditionalProperties == nil || *s.AdditionalProperties {
		return false
	}
	for _, p := range s.Properties {
		if !closed(p) {
			return false
		}
	}
	return true
}

package owntool

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/batchagent/batchagent/pkg/toolpool"
)

// Func makes a tool of a Go function. It derives the parameters' schema from the struct A: json tags name the fields,
// fields with omitempty are optional, jsonschema tags describe them. The function gets only arguments that match the
// schema. Set Share, Timeout and other fields on the returned tool before its registration.
func Func[A any](name, description string, run func(context.Context, A) (string, error)) (toolpool.Tool, error) {
	schema, err := jsonschema.For[A](nil)
	if err != nil {
		return toolpool.Tool{}, fmt.Errorf("derive the parameters of %s: %w", name, err)
	}
	if schema.Type != "object" {
		return toolpool.Tool{}, fmt.Errorf("derive the parameters of %s: the arguments must be a struct", name)
	}
	parameters, err := json.Marshal(schema)
	if err != nil {
		return toolpool.Tool{}, fmt.Errorf("derive the parameters of %s: %w", name, err)
	}
	return toolpool.Tool{
		Name: name, Description: description, Parameters: parameters,
		Run: func(ctx context.Context, args json.RawMessage) (string, error) {
			var a A
			if err := json.NewDecoder(bytes.NewReader(args)).Decode(&a); err != nil {
				return "", fmt.Errorf("the arguments do not fit: %w", err)
			}
			return run(ctx, a)
		},
	}, nil
}

package batchagent

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/google/jsonschema-go/jsonschema"
)

func isText[Out any]() bool { return reflect.TypeFor[Out]().Kind() == reflect.String }

// schemaOf returns the given schema, or the one derived from Out. It returns nil for free text. field is the field of the schema.
func schemaOf[Out any](field string, given json.RawMessage) (json.RawMessage, error) {
	if given != nil || isText[Out]() {
		return given, nil
	}
	var text json.RawMessage
	s, err := jsonschema.For[Out](nil)
	if err == nil {
		text, err = json.Marshal(s)
	}
	if err != nil {
		return nil, &UsageError{&SchemaError{Field: field, Message: fmt.Sprintf("derive the schema of %s: %v", reflect.TypeFor[Out](), err)}}
	}
	return text, nil
}

// decodeOutput decodes an output. A model reads the error in its repair turn.
func decodeOutput[Out any](output json.RawMessage) (out Out, err error) {
	if !isText[Out]() {
		return decodeAs[Out](output)
	}
	answer, err := decodeAs[struct {
		Text string `json:"text"`
	}](output)
	reflect.ValueOf(&out).Elem().SetString(answer.Text)
	return out, err
}

// itemsOf returns the items in a planner's answer.
func itemsOf[Item any](output json.RawMessage) ([]Item, error) {
	answer, err := decodeAs[struct {
		Items []Item `json:"items"`
	}](output)
	return answer.Items, err
}

// decodeAs decodes JSON with case-sensitive names: see [checkCase]. It returns a panic of a type's own UnmarshalJSON as an error,
// because the text of a model must not stop the program.
func decodeAs[T any](text json.RawMessage) (v T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("it does not decode as %s: panic: %v", reflect.TypeFor[T](), r)
		}
	}()
	if err = checkCase(reflect.TypeFor[T](), text); err != nil {
		return v, err
	}
	if err = json.Unmarshal(text, &v); err != nil {
		return v, fmt.Errorf("it does not decode as %s: %w", reflect.TypeFor[T](), err)
	}
	return v, nil
}

// checkOf returns a function that reports the errors of decode.
func checkOf[T any](decode func(json.RawMessage) (T, error)) func(json.RawMessage) error {
	return func(output json.RawMessage) error {
		_, err := decode(output)
		return err
	}
}

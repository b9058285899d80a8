package openaichat

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tidwall/gjson"
)

// Field is one member of a JSON object: a field of a request's body, for example.
type Field struct {
	Name  string
	Value any
}

// object is a JSON object with its members in order, so that equal requests are equal bytes.
type object []Field

// with appends a member, unless the server refuses it or the object already has it.
func (o object) with(name string, value any, refused func(member string) bool) object {
	if refused != nil && refused(name) || slices.ContainsFunc(o, func(f Field) bool { return f.Name == name }) {
		return o
	}
	return append(o, Field{name, value})
}

// MarshalJSON implements [json.Marshaler].
func (o object) MarshalJSON() ([]byte, error) { return o.appendTo(nil) }

// appendTo appends the JSON of an object.
func (o object) appendTo(out []byte) ([]byte, error) {
	out = append(out, '{')
	for i, f := range o {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(gjson.AppendJSONString(out, f.Name), ':')
		var err error
		if out, err = appendValue(out, f.Value); err != nil {
			return nil, fmt.Errorf("encode %s: %w", f.Name, err)
		}
	}
	return append(out, '}'), nil
}

// appendValue appends the JSON of a value. Raw JSON stays as it is.
func appendValue(out []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		return gjson.AppendJSONString(out, v), nil
	case object:
		return v.appendTo(out)
	case []object:
		out = append(out, '[')
		for i, o := range v {
			if i > 0 {
				out = append(out, ',')
			}
			var err error
			if out, err = o.appendTo(out); err != nil {
				return nil, err
			}
		}
		return append(out, ']'), nil
	case json.RawMessage:
		if len(v) == 0 {
			return append(out, "null"...), nil
		}
		if !gjson.ValidBytes(v) {
			return nil, fmt.Errorf("%.60q is not JSON", v)
		}
		return append(out, v...), nil
	}
	encoded, err := json.Marshal(v)
	return append(out, encoded...), err
}

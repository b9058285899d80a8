package blocks

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Closed returns a JSON Schema that forbids further properties in every object with properties, unless it defines
// additionalProperties. The servers enforce only such schemas. The order of properties is kept, because models write in
// that order. An answer that matches the closed schema also matches the original.
func Closed(schema []byte) (json.RawMessage, error) {
	out, err := closed(schema)
	if err != nil {
		return nil, fmt.Errorf("close a JSON schema: %w", err)
	}
	return out, nil
}

// mapsOfSchemas are the keywords with an object of schemas as value; lists are those with a list of schemas.
var (
	mapsOfSchemas = map[string]bool{"properties": true, "$defs": true, "definitions": true}
	lists         = map[string]bool{"anyOf": true, "oneOf": true, "allOf": true, "prefixItems": true}
)

func closed(schema json.RawMessage) (json.RawMessage, error) {
	if t := bytes.TrimSpace(schema); len(t) == 0 || t[0] != '{' {
		return schema, nil // true and false are schemas
	}
	has := map[string]bool{}
	fields, err := Fields(schema)
	if err != nil {
		return nil, err
	}
	for i := range fields {
		f := &fields[i]
		has[f.Name] = true
		switch {
		case mapsOfSchemas[f.Name]:
			f.Value, err = eachField(f.Value)
		case lists[f.Name]:
			f.Value, err = eachItem(f.Value)
		case f.Name == "items":
			f.Value, err = closed(f.Value)
		}
		if err != nil {
			return nil, err
		}
	}
	if has["properties"] && !has["additionalProperties"] {
		fields = append(fields, Field{"additionalProperties", json.RawMessage("false")})
	}
	return Object(fields)
}

func eachField(object json.RawMessage) (json.RawMessage, error) {
	fields, err := Fields(object)
	if err != nil {
		return nil, err
	}
	for i := range fields {
		if fields[i].Value, err = closed(fields[i].Value); err != nil {
			return nil, err
		}
	}
	return Object(fields)
}

func eachItem(list json.RawMessage) (json.RawMessage, error) {
	var items []json.RawMessage
	if err := json.Unmarshal(list, &items); err != nil {
		return nil, err
	}
	for i := range items {
		var err error
		if items[i], err = closed(items[i]); err != nil {
			return nil, err
		}
	}
	return json.Marshal(items)
}

// Field is one member of a JSON object.
type Field struct {
	Name  string
	Value json.RawMessage
}

// Fields returns an object's members in order.
func Fields(object []byte) ([]Field, error) {
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("%.20q is not an object", object)
	}
	var out []Field
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		f := Field{Name: name.(string)} // a member begins with its name, or Token fails
		if err := d.Decode(&f.Value); err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	_, err := d.Token()
	return out, err
}

// Object encodes members in their order.
func Object(fields []Field) (json.RawMessage, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range fields {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(f.Name)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(f.Value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

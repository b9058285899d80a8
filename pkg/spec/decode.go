package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
	"golang.org/x/text/unicode/norm"
)

// scalarField is the field of an input that is a bare value and no object.
const scalarField = "input"

// decodeFields reads one input from JSON: an object's members are its fields, any other value is the field "input". names are
// the names of the fields in their order.
func decodeFields(raw []byte) (fields map[string]any, names []string, err error) {
	if !utf8.Valid(raw) {
		return nil, nil, errNotUTF8
	}
	raw = bytes.TrimSpace(raw)
	if err := checkJSON(raw); err != nil {
		return nil, nil, err
	}
	if names, err = checkMembers(raw); err != nil {
		return nil, nil, err
	}
	if raw[0] == '{' {
		fields, err = decodeObject(raw)
		return fields, names, err
	}
	v, err := decodeValue(raw)
	if err != nil {
		return nil, nil, err
	}
	if v == nil {
		return nil, nil, errors.New("null is not an input")
	}
	return map[string]any{scalarField: v}, nil, nil
}

// decodeObject reads the members of an object, or null as no members. It converts their names to Unicode's form NFC. raw must be valid JSON.
func decodeObject(raw []byte) (map[string]any, error) {
	object := gjson.ParseBytes(raw)
	fields := map[string]any{}
	switch {
	case object.Type == gjson.Null:
		return fields, nil
	case !object.IsObject():
		return nil, fmt.Errorf("%s is no object", object.Type)
	}
	var err error
	object.ForEach(func(name, value gjson.Result) bool {
		var key string
		if key, err = textOf(name); err != nil {
			return false
		}
		key = norm.NFC.String(key)
		if fields[key], err = valueOf(value); err != nil {
			err = fmt.Errorf("field %q: %w", key, err)
		}
		return err == nil
	})
	return fields, err
}

// decodeValue reads one value. raw must be valid JSON.
func decodeValue(raw json.RawMessage) (any, error) { return valueOf(gjson.ParseBytes(raw)) }

// valueOf returns a value as a [Payload] holds it. It shares no memory with its JSON, which may be much longer.
func valueOf(v gjson.Result) (any, error) {
	switch v.Type {
	case gjson.String:
		return textOf(v)
	case gjson.Null:
		return nil, nil //nolint:nilnil // null is a value
	case gjson.True, gjson.False:
		return v.Type == gjson.True, nil
	case gjson.Number:
		return json.Number(strings.Clone(v.Raw)), nil
	default:
		var buf bytes.Buffer
		err := json.Compact(&buf, []byte(v.Raw))
		return json.RawMessage(buf.Bytes()), err
	}
}

// textOf returns a string's text as encoding/json decodes it. gjson decodes most strings in the same way, in a quarter of the time. They
// differ in surrogates and in bytes that are no UTF-8.
func textOf(v gjson.Result) (string, error) {
	switch {
	case strings.Contains(v.Raw, `\u`), !utf8.ValidString(v.Raw):
		var s string
		err := json.Unmarshal([]byte(v.Raw), &s)
		return s, err
	case len(v.Str) == len(v.Raw)-len(`""`): // a part of the JSON
		return strings.Clone(v.Str), nil
	}
	return v.Str, nil
}

// checkJSON returns an error that explains why raw is no valid JSON, or nil.
func checkJSON(raw []byte) error {
	if validJSON(raw) {
		return nil
	}
	var v json.RawMessage
	return explainJSON(raw, json.Unmarshal(raw, &v))
}

// maxNesting is the depth of values that encoding/json reads.
const maxNesting = 10_000

// validJSON returns what json.Valid returns. gjson needs a third of the time, but it recurses without a limit.
func validJSON(raw []byte) bool {
	if bytes.Count(raw, []byte("{"))+bytes.Count(raw, []byte("[")) <= maxNesting {
		return gjson.ValidBytes(raw)
	}
	return json.Valid(raw)
}

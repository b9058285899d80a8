// Package plainjson writes JSON without escapes for HTML: <, > and & stay as they are. Models read this JSON, and a value that is
// written again keeps its bytes.
package plainjson

import (
	"bytes"
	"encoding/json"
)

// Marshal is [json.Marshal] without escapes for HTML.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// AppendString appends s as a JSON string.
func AppendString(b []byte, s string) []byte {
	text, _ := Marshal(s) //nolint:errchkjson // a string always has a JSON form
	return append(b, text...)
}

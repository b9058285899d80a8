package schema

import "github.com/batchagent/batchagent/pkg/modeljson"

// Decode decodes text that holds one JSON value and nothing else. Numbers become json.Number, exactly as written.
// Duplicate keys, lone surrogates and invalid UTF-8 are errors.
func Decode(text []byte) (any, error) {
	return modeljson.Decode(text)
}

package schema

import "github.com/batchagent/batchagent/pkg/modeljson"

// Decode reads one JSON value and nothing after it. Numbers come as json.Number, exactly as written. Duplicate keys,
// lone surrogates and invalid UTF-8 are errors.
func Decode(text []byte) (any, error) {
	return modeljson.Decode(text)
}

package agent

import "encoding/json"

// strictKeywords are the schema keywords that grammar back ends accept. A server returns 400 for a strict tool if it
// cannot turn the tool's schema into a grammar.
var strictKeywords = map[string]bool{
	"type": true, "properties": true, "required": true, "additionalProperties": true, "items": true, "enum": true,
	"const": true, "anyOf": true, "minimum": true, "maximum": true, "title": true, "description": true, "default": true,
}

// canBeStrict reports whether arguments can be constrained to this schema: every object is closed, and only well-known
// keywords occur. Without strict, servers show the schema to the model only as a hint.
//
// Some hosted APIs also require every property to be required; their adapters handle that.
func canBeStrict(parameters []byte) bool {
	var root any
	return json.Unmarshal(parameters, &root) == nil && strictSchema(root)
}

func strictSchema(v any) bool {
	s, ok := v.(map[string]any)
	if !ok {
		return false
	}
	for word, value := range s {
		if !strictKeywords[word] {
			return false
		}
		switch word {
		case "properties":
			properties, ok := value.(map[string]any)
			if !ok {
				return false
			}
			for _, property := range properties {
				if !strictSchema(property) {
					return false
				}
			}
		case "items":
			if !strictSchema(value) {
				return false
			}
		case "anyOf":
			branches, ok := value.([]any)
			if !ok {
				return false
			}
			for _, branch := range branches {
				if !strictSchema(branch) {
					return false
				}
			}
		}
	}
	if _, object := s["properties"]; object || s["type"] == "object" {
		return s["additionalProperties"] == false
	}
	return true
}

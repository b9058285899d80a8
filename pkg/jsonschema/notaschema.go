package jsonschema

import (
	"fmt"
	"strings"
)

// otherDocument explains a mapping that is no schema and holds one, such as the definition of a tool; "" for others.
func otherDocument(root *value) string {
	if tool := root.member("function"); tool != nil && tool.kind == object && tool.member("parameters") != nil {
		return toolMessage("function.parameters")
	}
	for _, name := range []string{"parameters", "input_schema", "inputSchema"} {
		if in := root.member(name); in != nil && in.kind == object && root.member("name") != nil && root.member("properties") == nil {
			return toolMessage(name)
		}
	}
	for _, name := range []string{"openapi", "swagger"} {
		if version := root.member(name); version != nil && version.kind != object {
			return openAPIMessage(root)
		}
	}
	return ""
}

func toolMessage(at string) string {
	return fmt.Sprintf("is the definition of a tool; give only the schema at %s", at)
}

// openAPIMessage names the way to the schemas of an OpenAPI document.
func openAPIMessage(root *value) string {
	way, holder := "#/components/schemas/", "components"
	schemas := root.member("components")
	if schemas != nil {
		schemas = schemas.member("schemas")
	} else if schemas = root.member("definitions"); schemas != nil {
		way, holder = "#/definitions/", "definitions"
	}
	name, others := "NAME", ""
	if schemas != nil && len(schemas.names) > 0 {
		name = cut(schemas.names[0])
		if few := schemas.names[:min(len(schemas.names), 10)]; len(few) > 1 {
			others = fmt.Sprintf(" (or another one of %.200s)", strings.Join(few, ", "))
		}
	}
	return fmt.Sprintf("is an OpenAPI document; give one schema of it: {\"$ref\": %q, %q: {…}}%s, without the other members", way+name, holder, others)
}

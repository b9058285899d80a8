package modelapi

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/batchagent/batchagent/pkg/plainjson"
)

// object builds a JSON object with its members in order.
type object struct{ buf []byte }

func (o *object) name(name string) {
	if len(o.buf) == 0 {
		o.buf = append(o.buf, '{')
	} else {
		o.buf = append(o.buf, ',')
	}
	o.buf = append(plainjson.AppendString(o.buf, name), ':')
}

func (o *object) text(name, value string) {
	o.name(name)
	o.buf = plainjson.AppendString(o.buf, value)
}

func (o *object) raw(name, value string) {
	o.name(name)
	o.buf = append(o.buf, value...)
}

// value adds a value that always has a JSON form.
func (o *object) value(name string, v any) {
	o.name(name)
	body, err := plainjson.Marshal(v)
	if err != nil {
		body = []byte("null")
	}
	o.buf = append(o.buf, body...)
}

// members adds members in the order of their names.
func (o *object) members(m map[string]json.RawMessage) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if json.Valid(m[name]) {
			o.raw(name, string(m[name]))
		}
	}
}

func (o *object) json() json.RawMessage {
	if len(o.buf) == 0 {
		return json.RawMessage("{}")
	}
	return append(o.buf, '}')
}

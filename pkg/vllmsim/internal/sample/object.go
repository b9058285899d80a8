package sample

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// object is a JSON object that keeps the order of its keys: a model writes properties in the order of the schema. The compiler
// identifies an object by its pointer.
type object struct {
	keys []string
	vals map[string]any // *object, []any, string, json.Number, bool or nil
}

func newObject() *object { return &object{vals: map[string]any{}} }

func (o *object) set(key string, v any) {
	if _, ok := o.vals[key]; !ok {
		o.keys = append(o.keys, key)
	}
	o.vals[key] = v
}

func (o *object) object(key string) *object { return asObject(o.vals[key]) }

func (o *object) list(key string) []any { l, _ := o.vals[key].([]any); return l }

func (o *object) text(key string) string { s, _ := o.vals[key].(string); return s }

func (o *object) number(key string) (float64, bool) {
	n, ok := o.vals[key].(json.Number)
	if !ok {
		return 0, false
	}
	f, err := n.Float64()
	return f, err == nil
}

func (o *object) without(keys ...string) *object {
	out := newObject()
next:
	for _, k := range o.keys {
		for _, drop := range keys {
			if k == drop {
				continue next
			}
		}
		out.set(k, o.vals[k])
	}
	return out
}

func asObject(v any) *object { o, _ := v.(*object); return o }

// parse reads one JSON document.
func parse(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := parseValue(d)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("text after the JSON value")
	}
	return v, nil
}

func parseValue(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		o := newObject()
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := parseValue(d)
			if err != nil {
				return nil, err
			}
			o.set(key.(string), v) //nolint:forcetypeassert // the decoder gives only strings as keys
		}
		_, err := d.Token()
		return o, err
	case json.Delim('['):
		l := []any{}
		for d.More() {
			v, err := parseValue(d)
			if err != nil {
				return nil, err
			}
			l = append(l, v)
		}
		_, err := d.Token()
		return l, err
	}
	return t, nil
}

// encode writes a parsed value as compact JSON.
func encode(dst []byte, v any) []byte {
	switch v := v.(type) {
	case *object:
		dst = append(dst, '{')
		for i, k := range v.keys {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(AppendString(dst, k), ':')
			dst = encode(dst, v.vals[k])
		}
		return append(dst, '}')
	case []any:
		dst = append(dst, '[')
		for i, e := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = encode(dst, e)
		}
		return append(dst, ']')
	case string:
		return AppendString(dst, v)
	case json.Number:
		return append(dst, v...)
	case bool:
		return fmt.Appendf(dst, "%t", v)
	default:
		return append(dst, "null"...)
	}
}

// lookup resolves a local reference ("#/$defs/x") from the root.
func lookup(root any, ref string) (any, bool) {
	if ref == "#" {
		return root, true
	}
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil, false
	}
	at := root
	for step := range strings.SplitSeq(path, "/") {
		o := asObject(at)
		if o == nil {
			return nil, false
		}
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		if at, ok = o.vals[step]; !ok {
			return nil, false
		}
	}
	return at, true
}

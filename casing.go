package batchagent

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/batchagent/batchagent/pkg/modeljson"
)

// checkCase returns an error if encoding/json would decode a key into a field of t with another name. encoding/json ignores the case
// of names, and the last match wins. So with an open schema, an unchecked "RISK" would replace the checked "risk".
//
// A field with a name in its tag accepts only this name. A field without one accepts its name in any case, but once per object.
func checkCase(t reflect.Type, text []byte) error {
	doc, err := modeljson.Decode(text)
	if err != nil {
		return nil //nolint:nilerr // the decoder reports it
	}
	return keyCases{}.check(t, doc)
}

// keyCases caches the fields of struct types.
type keyCases map[reflect.Type][]jsonField

type jsonField struct {
	name   string
	tagged bool
	typ    reflect.Type
}

var (
	unmarshaler     = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func (c keyCases) check(t reflect.Type, doc any) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if p := reflect.PointerTo(t); p.Implements(unmarshaler) || p.Implements(textUnmarshaler) {
		return nil
	}
	switch v := doc.(type) {
	case []any:
		if t.Kind() == reflect.Slice || t.Kind() == reflect.Array {
			for _, e := range v {
				if err := c.check(t.Elem(), e); err != nil {
					return err
				}
			}
		}
	case map[string]any:
		switch t.Kind() {
		case reflect.Map:
			for _, e := range v {
				if err := c.check(t.Elem(), e); err != nil {
					return err
				}
			}
		case reflect.Struct:
			return c.object(t, v)
		}
	}
	return nil
}

func (c keyCases) object(t reflect.Type, object map[string]any) error {
	fields, met := c[t]
	if !met {
		fields = fieldsOf(t, nil)
		c[t] = fields
	}
	for _, f := range fields {
		value, found := object[f.name]
		for key := range object {
			switch {
			case key == f.name || !strings.EqualFold(key, f.name) || named(fields, key):
			case f.tagged:
				return fmt.Errorf("the key %.100q differs from %q in case alone", key, f.name)
			case found:
				return fmt.Errorf("it has two keys for %q that differ in case alone", f.name)
			default:
				value, found = object[key], true
			}
		}
		if found {
			if err := c.check(f.typ, value); err != nil {
				return err
			}
		}
	}
	return nil
}

func named(fields []jsonField, name string) bool {
	for _, f := range fields {
		if f.name == name {
			return true
		}
	}
	return false
}

// fieldsOf returns the fields of a struct that JSON sets, including those of embedded structs.
func fieldsOf(t reflect.Type, outer []reflect.Type) []jsonField {
	for _, o := range outer {
		if o == t {
			return nil
		}
	}
	var out []jsonField
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		switch {
		case f.Tag.Get("json") == "-":
		case f.Anonymous && name == "" && inner.Kind() == reflect.Struct:
			out = append(out, fieldsOf(inner, append(outer, t))...)
		case !f.IsExported():
		case name == "":
			out = append(out, jsonField{f.Name, false, f.Type})
		default:
			out = append(out, jsonField{name, true, f.Type})
		}
	}
	return out
}

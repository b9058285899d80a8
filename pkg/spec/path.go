package spec

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// maxSteps limits the steps of a path.
const maxSteps = 32

var indexStep = regexp.MustCompile(`\[([0-9]+)\]`)

// steps returns the parts of a path such as user.name, items.0.title or items[0].title, or nil if name has only one
// part.
func steps(name string) []string {
	name = indexStep.ReplaceAllString(name, ".$1")
	out := strings.SplitN(name, ".", maxSteps+1)
	if len(out) < 2 || len(out) > maxSteps {
		return nil
	}
	for _, step := range out {
		if step == "" {
			return nil
		}
	}
	return out
}

// roots returns the names of the fields that a path may begin with, the longest first.
func roots(name string) []string {
	path := steps(name)
	var out []string
	for i := len(path) - 1; i > 0; i-- {
		out = append(out, strings.Join(path[:i], "."))
	}
	return out
}

// lookup returns the value of a name in an input: the field of this name, or else the value at the end of the path.
// exact reports that it is a field.
func lookup(fields map[string]any, name string) (value any, exact, ok bool) {
	if value, ok = fields[name]; ok {
		return value, true, true
	}
	path := steps(name)
	if path == nil {
		return nil, false, false
	}
	value, ok = descend(func(key string) (any, bool) { v, ok := fields[key]; return v, ok }, path)
	return value, false, ok
}

// descend follows a path. Members with dots in their names win over shorter ones.
func descend(member func(key string) (any, bool), path []string) (any, bool) {
	for i := len(path); i > 0; i-- {
		value, ok := member(strings.Join(path[:i], "."))
		if !ok {
			continue
		}
		if i == len(path) {
			return value, true
		}
		raw, nested := value.(json.RawMessage)
		if !nested {
			continue
		}
		if found, ok := descend(membersOf(raw), path[i:]); ok {
			return found, true
		}
	}
	return nil, false
}

// membersOf returns a function that finds the members of an object by name, and those of an array by index.
func membersOf(raw json.RawMessage) func(key string) (any, bool) {
	none := func(string) (any, bool) { return nil, false }
	decode := func(raw json.RawMessage) (any, bool) {
		v, err := decodeValue(bytes.TrimSpace(raw))
		return v, err == nil
	}
	if len(raw) > 0 && raw[0] == '[' {
		var items []json.RawMessage
		if json.Unmarshal(raw, &items) != nil {
			return none
		}
		return func(key string) (any, bool) {
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(items) || strconv.Itoa(i) != key {
				return nil, false
			}
			return decode(items[i])
		}
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return none
	}
	return func(key string) (any, bool) {
		if v, ok := members[key]; ok {
			return decode(v)
		}
		for name, v := range members {
			if norm.NFC.String(name) == key {
				return decode(v)
			}
		}
		return nil, false
	}
}

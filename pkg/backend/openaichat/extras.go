package openaichat

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
)

// maxExtraBytes limits the unknown members of one tool call. Signatures have several kilobytes. A call with more keeps
// none, because part of a signature is useless.
const maxExtraBytes = 64 << 10

// functionMember is the member of a tool call that describes the function.
const functionMember = "function"

// members are members of a JSON object by name.
type members map[string]json.RawMessage

// extras are the members of a tool call outside of the protocol. They are sent back with the call.
type extras struct {
	call, function members
	size           int
	over           bool // the members exceeded maxExtraBytes
}

// extrasOf returns the members of a piece of a tool call that are outside of the protocol.
func extrasOf(delta []byte) extras {
	var e extras
	var all members
	if json.Unmarshal(delta, &all) != nil {
		return e
	}
	for name, value := range all {
		switch {
		case name == "index" || name == "id" || name == "type" || isEmptyJSON(value):
		case name == functionMember:
			var function members
			_ = json.Unmarshal(value, &function) // a function that is not an object has no members
			for name, value := range function {
				if name != "name" && name != "arguments" && !isEmptyJSON(value) {
					e.function = e.function.with(name, value)
				}
			}
		default:
			e.call = e.call.with(name, value)
		}
	}
	return e
}

// with sets a member and returns the map. It creates the map if m is nil.
func (m members) with(name string, value json.RawMessage) members {
	if m == nil {
		m = members{}
	}
	m[name] = slices.Clone(value)
	return m
}

// add merges the members of a further piece. The last value of a member wins. It returns their size.
func (e *extras) add(piece extras) (size int) {
	e.call, size = e.merge(e.call, piece.call)
	function, more := e.merge(e.function, piece.function)
	e.function = function
	if e.over = e.over || e.size > maxExtraBytes; e.over {
		e.call, e.function = nil, nil
	}
	return size + more
}

// merge sets members and returns the size of the new values.
func (e *extras) merge(to, from members) (_ members, size int) {
	for name, value := range from {
		if old, has := to[name]; has {
			e.size -= len(name) + len(old)
		}
		to = to.with(name, value)
		e.size += len(name) + len(value)
		size += len(name) + len(value)
	}
	return to, size
}

// json returns the members as one JSON object, with those of the function nested in it; nil without members.
func (e *extras) json() json.RawMessage {
	if len(e.call) == 0 && len(e.function) == 0 {
		return nil
	}
	all := maps.Clone(e.call)
	if len(e.function) > 0 {
		function, err := json.Marshal(e.function)
		if err != nil {
			return nil
		}
		all = all.with(functionMember, function)
	}
	out, err := json.Marshal(all)
	if err != nil {
		return nil
	}
	return out
}

// readExtras decodes the output of extras.json. It drops members of the protocol.
func readExtras(extra json.RawMessage) extras {
	if len(bytes.TrimSpace(extra)) == 0 {
		return extras{}
	}
	return extrasOf(extra)
}

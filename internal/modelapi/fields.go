package modelapi

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
)

// fields reads values of a request. The first mistake is kept and ends the reading.
type fields struct {
	failed *failure
}

func (f *fields) fail(at, format string, args ...any) {
	if f.failed == nil {
		f.failed = invalid(at, format, args...)
		if at != "" {
			f.failed.message = at + ": " + f.failed.message
		}
	}
}

// object calls each for the members of an object. A null member is skipped: all clients send null for "not set". A name that occurs
// twice is an error.
func (f *fields) object(at string, v value, each func(name string, v value)) {
	if !v.isObject() {
		f.fail(at, "must be an object")
		return
	}
	var seen []string
	v.members(func(name string, value value) bool {
		if slices.Contains(seen, name) {
			f.fail(join(at, name), "the field occurs twice")
			return false
		}
		if len(seen) >= maxNames {
			f.fail(at, "the object has more than %d fields", maxNames)
			return false
		}
		seen = append(seen, name)
		if !value.isNull() {
			each(name, value)
		}
		return f.failed == nil
	})
}

// maxNames limits the fields of an object that has known fields.
const maxNames = 256

// list calls each for the values of an array with at most limit values.
func (f *fields) list(at string, v value, limit int, each func(at string, v value)) {
	if !v.isArray() {
		f.fail(at, "must be an array")
		return
	}
	i := 0
	v.values(func(value value) bool {
		if i == limit {
			f.fail(at, "must have at most %d values", limit)
			return false
		}
		each(at+"["+strconv.Itoa(i)+"]", value)
		i++
		return f.failed == nil
	})
}

func (f *fields) text(at string, v value) string {
	if !v.isString() {
		f.fail(at, "must be a string")
		return ""
	}
	return v.text()
}

func (f *fields) flag(at string, v value) bool {
	if v.raw != "true" && v.raw != "false" {
		f.fail(at, "must be true or false")
	}
	return v.raw == "true"
}

func (f *fields) number(at string, v value) *float64 {
	n, err := strconv.ParseFloat(v.raw, 64)
	if !v.isNumber() || err != nil {
		f.fail(at, "must be a number")
		return nil
	}
	return &n
}

// integer reads an integer. Its digits are kept: a large one is not rounded.
func (f *fields) integer(at string, v value) int64 {
	if !v.isNumber() {
		f.fail(at, "must be an integer")
		return 0
	}
	n, err := strconv.ParseInt(v.raw, 10, 64)
	if err != nil {
		float, err := strconv.ParseFloat(v.raw, 64)
		if err != nil || float != math.Trunc(float) || math.Abs(float) > 1<<53 {
			f.fail(at, "must be an integer")
			return 0
		}
		n = int64(float) // 1e3 and 2.0
	}
	return n
}

// positive reads an integer from 1 to limit.
func (f *fields) positive(at string, v value, limit int64) int {
	n := f.integer(at, v)
	if n < 1 || n > limit {
		f.fail(at, "must be from 1 to %d", limit)
		return 0
	}
	return int(n)
}

func (f *fields) strings(at string, v value, limit int) (out []string) {
	f.list(at, v, limit, func(at string, v value) { out = append(out, f.text(at, v)) })
	return out
}

// raw returns a copy of the JSON of a value.
func raw(v value) json.RawMessage { return json.RawMessage(v.raw) }

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

// isOneOf compares without case, because some servers ignore the case of names.
func isOneOf(name string, names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}

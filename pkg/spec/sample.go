package spec

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/batchagent/batchagent/pkg/batch"
)

const (
	maxSampled      = 4096    // inputs
	maxSampledBytes = 8 << 20 // of all values
	maxSampledValue = 4 << 10 // of one value; a longer one is cut, and ends with its hash
	valueMemory     = 64      // bytes that a value takes besides its text
)

// Sample is a random choice of inputs, the same each time. Its memory does not grow with the number of inputs. The zero value is empty.
type Sample struct {
	kept  []sampled
	size  int
	shift int // one input in 2^shift is kept
}

// sampled is an input that was chosen.
type sampled struct {
	draw   uint64
	values map[string]string // by name, as a prompt shows them
}

// Wants reports whether the input with this index belongs to the sample.
func (s *Sample) Wants(index int64) bool { return s.keeps(draw(index)) }

func (s *Sample) keeps(d uint64) bool { return d <= math.MaxUint64>>s.shift }

// draw returns a number that looks random.
func draw(index int64) uint64 { return mix(uint64(index) + 0x9e3779b97f4a7c15) }

// mix is the finalizer of SplitMix64: each bit of x changes about half of the bits of the result.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// AddPayload adds the job with this index, if the sample wants it and its input is usable.
func (s *Sample) AddPayload(index int64, payload []byte) error {
	if !s.Wants(index) {
		return nil
	}
	decoded, err := DecodePayload(payload)
	if err != nil {
		return fmt.Errorf("read %s: %w", batch.JobID(index), err)
	}
	if decoded.Bad != "" {
		return nil
	}
	return s.add(index, decoded.Input, slices.Collect(maps.Keys(decoded.Input)))
}

// add adds the values that an input has for these names.
func (s *Sample) add(index int64, fields map[string]any, names []string) error {
	in := sampled{draw(index), make(map[string]string, len(names))}
	for _, name := range names {
		value, _, ok := lookup(fields, name)
		if !ok {
			continue
		}
		text, err := appendValue(nil, value)
		if err != nil {
			return fmt.Errorf("field %q: %w", name, err)
		}
		in.values[name] = cut(text)
		s.size += len(in.values[name]) + valueMemory
	}
	s.kept = append(s.kept, in)
	for len(s.kept) > 1 && (len(s.kept) > maxSampled || s.size > maxSampledBytes) {
		s.thin()
	}
	return nil
}

// thin keeps about half of the inputs.
func (s *Sample) thin() {
	s.shift++
	s.kept = slices.DeleteFunc(s.kept, func(in sampled) bool { return !s.keeps(in.draw) })
	s.size = 0
	for _, in := range s.kept {
		for _, value := range in.values {
			s.size += len(value) + valueMemory
		}
	}
}

// cut shortens a long value. Two values that are equal stay equal, and two that differ stay different.
func cut(text []byte) string {
	if len(text) <= maxSampledValue {
		return string(text)
	}
	return fmt.Sprintf("%s%x", text[:maxSampledValue], xxhash.Sum64(text))
}

// Openings renders the openings of the sample's prompts, each cut to 16 KiB. names maps the placeholders to the names of the values;
// a placeholder that it lacks is a name itself.
func (s *Sample) Openings(c *Compiled, names map[string]string) []string {
	var out []string
	fields := c.placeholders()
	for size := 0; len(out) < len(s.kept) && size < maxSampledOpenings; {
		values := make(map[string]any, len(fields))
		for _, field := range fields {
			name, ok := names[field]
			if !ok {
				name = field
			}
			if value, ok := s.kept[len(out)].values[name]; ok {
				values[field] = value
			}
		}
		opening := c.Opening(values, maxSampledOpening)
		out = append(out, opening)
		size += len(opening)
	}
	return out
}

const (
	maxSampledOpening  = 16 << 10
	maxSampledOpenings = 32 << 20 // of all of them
)

package spec

import (
	"fmt"
	"math"
	"slices"

	"github.com/axiomhq/hyperloglog"
	"github.com/cespare/xxhash/v2"
)

// A server's cache keeps the prefixes that prompts share. Jobs run in the order of their prompts, so a prefix is computed about once.
// How much is shared depends on the order of the placeholders in the task: a field that differs in every job ends the prefix.

const (
	// maxAdvised is the largest number of placeholders for which orders are compared. Its square is the number of sketches.
	maxAdvised = 8
	// minAdvised is the smallest gain that is reported, as a share of all prompt bytes, and in bytes per job.
	minAdvised, minAdvisedBytes = 0.10, 256
)

// sharing counts the values of a task's placeholders during a survey, alone and together with others. Its memory is bounded: one
// sketch of 16 KiB for each pair of placeholders. The standard error of a count is 0.8 %.
type sharing struct {
	names []string // placeholders of the task, each once, in order
	jobs  int64
	bytes []float64               // sum of the lengths of the values of names[i]
	hash  []uint64                // of the values of the last input
	alone []*hyperloglog.Sketch   // counts the distinct values of names[i]
	upTo  []*hyperloglog.Sketch   // of names[0..k] together
	with  [][]*hyperloglog.Sketch // of names[i] and names[0..k] together
}

// newSharing returns nil if orders of so many placeholders are not compared.
func newSharing(names []string) *sharing {
	n := len(names)
	if n < 2 || n > maxAdvised {
		return nil
	}
	s := &sharing{names: names, bytes: make([]float64, n), hash: make([]uint64, n), upTo: sketches(n), alone: sketches(n)}
	for range names {
		s.with = append(s.with, sketches(n))
	}
	return s
}

func sketches(n int) []*hyperloglog.Sketch {
	out := make([]*hyperloglog.Sketch, n)
	for i := range out {
		out[i] = hyperloglog.New()
	}
	return out
}

// add counts a usable input. A placeholder without a value counts as empty.
func (s *sharing) add(fields map[string]any) error {
	s.jobs++
	var text []byte
	for i, name := range s.names {
		text = text[:0]
		if value, _, ok := lookup(fields, name); ok {
			var err error
			if text, err = appendValue(text, value); err != nil {
				return fmt.Errorf("field %q: %w", name, err)
			}
		}
		s.bytes[i] += float64(len(text))
		s.hash[i] = xxhash.Sum64(text)
		s.alone[i].InsertHash(mix(s.hash[i]))
	}
	prefix := uint64(0)
	for k, h := range s.hash {
		prefix = mix(prefix + h)
		s.upTo[k].InsertHash(prefix)
		for i, first := range s.hash {
			s.with[i][k].InsertHash(mix(31*prefix + first))
		}
	}
	return nil
}

// segment is a placeholder with the text in front of it.
type segment struct {
	name  int // its index in sharing.names
	bytes float64
}

// advice compares the order of the task's placeholders with orders in which another one is first. names maps the task's placeholders
// to the names that the author wrote. It returns a sentence for the author, or "" if no order saves much.
func (s *sharing) advice(c *Compiled, names map[string]string) string {
	if s == nil || s.jobs < 2 {
		return ""
	}
	segments, rest, ok := s.segments(c.template, names)
	if !ok || len(segments) < 2 {
		return ""
	}
	total := float64(len(c.System)) + rest
	for _, g := range segments {
		total += g.bytes
	}
	total *= float64(s.jobs)
	now := s.computed(segments, rest, len(c.System), -1)
	best, first := now, -1
	for _, g := range segments[1:] {
		if n := s.computed(segments, rest, len(c.System), g.name); n < best {
			best, first = n, g.name
		}
	}
	if first < 0 || now-best < minAdvised*total || now-best < minAdvisedBytes*float64(s.jobs) {
		return ""
	}
	return fmt.Sprintf("{%s} comes before {%s}; with {%s} first, about %.0f %% of the prompt tokens could be shared instead of %.0f %%",
		s.names[segments[0].name], s.names[first], s.names[first], 100*(1-best/total), 100*(1-now/total))
}

// segments splits a task at its placeholders. rest is the length of the text after the last one. ok is false if a placeholder was
// not counted.
func (s *sharing) segments(t *Template, names map[string]string) (out []segment, rest float64, ok bool) {
	for _, p := range t.parts {
		if p.field == "" {
			rest += float64(len(p.text))
			continue
		}
		name, renamed := names[p.field]
		if !renamed {
			name = p.field
		}
		i := slices.Index(s.names, name)
		if i < 0 {
			return nil, 0, false
		}
		out = append(out, segment{i, rest + s.bytes[i]/float64(s.jobs)})
		rest = 0
	}
	return out, rest, true
}

// computed estimates the prompt bytes that a server computes if it computes each common prefix once. The placeholder first moves to
// the front; a negative one leaves the order.
func (s *sharing) computed(segments []segment, rest float64, system, first int) float64 {
	sum, prefixes := float64(system), 1.0
	step := func(sketch *hyperloglog.Sketch, bytes float64) {
		prefixes = math.Max(prefixes, math.Min(float64(sketch.Estimate()), float64(s.jobs)))
		sum += prefixes * bytes
	}
	moved := slices.IndexFunc(segments, func(g segment) bool { return g.name == first })
	if moved >= 0 {
		step(s.alone[first], segments[moved].bytes)
	}
	for i, g := range segments {
		switch {
		case i == moved:
		case first < 0:
			step(s.upTo[g.name], g.bytes)
		default:
			step(s.with[first][g.name], g.bytes)
		}
	}
	return sum + float64(s.jobs)*rest
}

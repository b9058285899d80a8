package spec

import (
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/goccy/go-yaml/ast"

	"github.com/batchagent/batchagent/pkg/strictyaml"
)

// Identical selects how many of several twins run.
type Identical string

const (
	// IdenticalEach runs each of them. It is the default, and a Compiled has "" for it.
	IdenticalEach Identical = "each"
	// IdenticalOnce runs one of them and gives the others its result.
	IdenticalOnce Identical = "once"
)

func (l *loader) identical(to *Identical) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		switch v, _ := l.Text(field, n); Identical(v) {
		case IdenticalEach:
			*to = ""
		case IdenticalOnce:
			*to = IdenticalOnce
		default:
			l.Failf(n, field, "must be %s or %s, not %s", IdenticalEach, IdenticalOnce, strictyaml.KindOf(n))
		}
	}
}

// repeatable are the values of a tool's share setting with which equal calls have equal results.
var repeatable = []string{"pure", "ttl"}

// CheckOnce returns an error if identical jobs must not run once, because a tool of this share may answer an equal call differently.
func (c *Compiled) CheckOnce(tool, share string) error {
	if c.Identical != IdenticalOnce || slices.Contains(repeatable, share) {
		return nil
	}
	return fmt.Errorf("identical: once needs tools whose equal calls have equal results, and the tool %s has share: %s; "+
		"set share: pure or ttl if it is one, or leave out identical", tool, share)
}

// finishIdentical checks the settings of tools in the spec, once all fields are read.
func (l *loader) finishIdentical(top ast.Node) {
	for _, name := range l.spec.settings.Needs() {
		if share := l.spec.settings.ToolSettings[name].Share; share != "" {
			if err := l.spec.settings.CheckOnce(name, share); err != nil {
				l.Failf(top, "identical", "%v", err)
			}
		}
	}
}

// maxCompared limits the inputs among which twins are found, and so the memory to 64 MiB. In a larger batch every job counts as a twin.
const maxCompared = 8 << 20

// twins finds inputs with equal values for the prompts. It holds 8 bytes per input during the first pass, and afterwards
// 8 bytes per value that occurs more than once.
type twins struct {
	hashes []uint64 // of all inputs; after finish, only the repeated ones, sorted
	copies int64    // inputs with the values of an earlier one; valid after finish
	most   int
	full   bool // too many inputs
}

func newTwins() *twins { return &twins{most: maxCompared} }

// hashOf returns the hash of an input's values for names. The order of names does not matter.
func hashOf(fields map[string]any, names []string) (uint64, error) {
	sum := uint64(0)
	var text []byte
	for _, name := range names {
		value, _, ok := lookup(fields, name)
		if !ok {
			continue
		}
		var err error
		if text, err = appendValue(text[:0], value); err != nil {
			return 0, fmt.Errorf("field %q: %w", name, err)
		}
		sum += mix(xxhash.Sum64String(name) + mix(xxhash.Sum64(text)))
	}
	return sum, nil
}

func (t *twins) add(hash uint64) {
	if t.full || len(t.hashes) >= t.most {
		t.full, t.hashes = true, nil
		return
	}
	t.hashes = append(t.hashes, hash)
}

// finish keeps the hashes that occur more than once.
func (t *twins) finish() {
	slices.Sort(t.hashes)
	var several []uint64
	for i, h := range t.hashes {
		if i == 0 || t.hashes[i-1] != h {
			continue
		}
		t.copies++
		if len(several) == 0 || several[len(several)-1] != h {
			several = append(several, h)
		}
	}
	t.hashes = slices.Clip(several)
}

// has reports whether another input may have this hash.
func (t *twins) has(hash uint64) bool {
	_, found := slices.BinarySearch(t.hashes, hash)
	return found || t.full
}

package strictyaml

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/agext/levenshtein"
)

// Names maps the names that other tools give to fields, folded, to the paths of fields. A path starts at a level which
// knows its first part. See [Fold].
type Names map[string][]string

// NamesOf makes [Names] of a map from the path of a field to its other names, with spaces between them.
func NamesOf(names map[string]string) Names {
	out := Names{}
	for field, others := range names {
		for other := range strings.FieldsSeq(others) {
			out[Fold(other)] = append(out[Fold(other)], field)
		}
	}
	for _, fields := range out {
		slices.Sort(fields)
	}
	return out
}

// unknown returns the message about an unknown field. at is the path of its level; known are the fields of the level.
func (m Names) unknown(at, key string, known []string) string {
	for _, name := range known {
		if Fold(name) == Fold(key) {
			return fmt.Sprintf("unknown field; the nearest known name is %q", name)
		}
	}
	level := at[strings.LastIndex(at, ".")+1:]
	for _, field := range m[Fold(key)] {
		field = strings.TrimPrefix(field, level+".")
		if first, _, _ := strings.Cut(field, "."); slices.Contains(known, first) {
			return fmt.Sprintf("unknown field; this is called %s here", Join(at, field))
		}
	}
	slips := max(2, len(key)/3)
	if len(key) < 4 {
		slips = 1
	}
	if near := Nearest(key, known); levenshtein.Distance(key, near, nil) <= slips {
		return fmt.Sprintf("unknown field; the nearest known name is %q", near)
	}
	if strings.Contains(Fold(key), "apikey") || strings.Contains(Fold(key), "authorization") {
		return "unknown field; a key is never in a spec: give it in the environment, as BATCHAGENT_API_KEY"
	}
	return "unknown field; the known ones are " + strings.Join(known, ", ")
}

// Fold drops the common differences between names: case, spaces, and characters that join words.
func Fold(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || strings.ContainsRune("_-.", r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

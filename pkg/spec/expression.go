package spec

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/batchagent/batchagent/pkg/strictyaml"
)

// dataNames are the names that a prompt may use.
type dataNames struct {
	known []string               // fields
	first map[string]any         // the fields of the first input; nil without inputs
	used  func(name string) bool // reports whether a prompt has a placeholder of this name
}

const (
	// sigils are marks around the names of variables in some languages.
	sigils = "$@#:%=&~?!*"
	// step matches a member's name in an expression.
	step = `[\p{L}\p{N}_][\p{L}\p{M}\p{N}_\-]*`
)

var (
	// access matches an expression such as user.name, user["name"], user[name], user->name, text.upper() and text[:100].
	access = regexp.MustCompile(`^\$?(` + step + `)((?:(?:\??\.|->|::)` + step + `|\??\.?\[[^\[\]\n]{1,100}\]|\([^()\n]{0,100}\))+)$`)
	// accessPart matches one part of it after the first name.
	accessPart = regexp.MustCompile(`(?:\??\.|->|::)(` + step + `)|\[:?["']?([^\[\]\n]{1,100}?)["']?\]|(\([^()\n]*\))`)
	// slashed matches an expression such as user/name, which is more often text.
	slashed = regexp.MustCompile(`^` + step + `(?:[/:]` + step + `)+$`)
	// call matches a function of one name: len(text).
	call = regexp.MustCompile(`^[\p{L}_][\p{L}\p{N}_.]*\((` + step + `)\)$`)
)

// containers are names of the whole input in other languages.
var containers = strings.Fields("row rows input inputs item record data example doc document entry obj object sample vars var variables ctx context " +
	"this self state params args kwargs values fields props json value it x e r d 0")

// meant returns the field, or the path into one, that an expression of a programming language names.
func (d dataNames) meant(expression string) (string, bool) {
	if m := call.FindStringSubmatch(expression); m != nil && slices.Contains(d.known, m[1]) {
		return m[1], true
	}
	if slashed.MatchString(expression) {
		path := strings.FieldsFunc(expression, func(r rune) bool { return r == '/' || r == ':' })
		name := strings.Join(path, ".")
		_, _, found := lookup(d.first, name)
		return name, found
	}
	path := accessPath(expression)
	if path == nil {
		return "", false
	}
	if name, ok := d.follow(path); ok {
		return name, true
	}
	if slices.Contains(containers, strings.ToLower(path[0])) {
		for i := 1; i < len(path); i++ {
			if slices.Contains(d.known, path[i]) {
				return d.follow(path[i:])
			}
		}
	}
	return "", false
}

// accessPath returns the steps of an expression, or nil if it is none.
func accessPath(expression string) []string {
	m := access.FindStringSubmatch(expression)
	if m == nil {
		return nil
	}
	path := []string{m[1]}
	for _, part := range accessPart.FindAllStringSubmatch(m[2], maxSteps) {
		switch {
		case part[3] != "":
			// A call such as .upper() or .get("name"): its name is no member, but its argument may be one.
			argument := strings.Trim(part[3], `()"'`)
			if last := len(path) - 1; last > 0 {
				path = path[:last]
			}
			if argument != "" {
				path = append(path, argument)
			}
		case part[1] != "":
			path = append(path, part[1])
		default:
			path = append(path, part[2])
		}
	}
	return path
}

// follow returns the longest part of the path that the first input has. A step with a small typo is replaced by the
// member's name.
func (d dataNames) follow(path []string) (string, bool) {
	name := ""
	for i := min(len(path), maxSteps); i > 0 && name == ""; i-- {
		if root := strings.Join(path[:i], "."); slices.Contains(d.known, root) {
			name, path = root, path[i:]
		}
	}
	if name == "" {
		root, ok := near(path[0], d.known)
		if !ok || len(path) < 2 {
			return "", false
		}
		if _, _, ok := lookup(d.first, root+"."+path[1]); !ok {
			return "", false
		}
		name, path = root, path[1:]
	}
	for _, step := range path {
		if _, _, ok := lookup(d.first, name+"."+step); ok {
			name += "." + step
			continue
		}
		value, _, _ := lookup(d.first, name)
		raw, _ := value.(json.RawMessage)
		member, ok := near(step, memberNames(raw))
		if !ok {
			break
		}
		name += "." + member
	}
	return name, true
}

// memberNames returns the names of an object's members, at most maxKnown.
func memberNames(raw json.RawMessage) []string {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return nil
	}
	names := make([]string, 0, min(len(members), maxKnown))
	for name := range members {
		if len(names) == maxKnown {
			break
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// near returns the known name closest to name, and whether they differ only by a typo.
func near(name string, known []string) (string, bool) {
	if len(known) == 0 || len(name) > maxLabel {
		return "", false
	}
	field := strictyaml.Nearest(name, known)
	folded := strictyaml.Fold(name)
	distance := levenshtein.Distance(folded, strictyaml.Fold(field), nil)
	return field, distance <= min(2, max(1, len([]rune(folded))/2)) && distance < len([]rune(folded))
}

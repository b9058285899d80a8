package filter

import (
	"cmp"
	"maps"
	"slices"

	"github.com/expr-lang/expr/ast"
)

// use records whether a field of a condition exists in the results.
type use struct {
	key, of string
	found   bool
	others  map[string]bool // fields of the same objects, at most maxNamed
}

// note records one object. It does nothing for a field whose name is not in the condition.
func (u *use) note(object map[string]any, there bool) {
	if u == nil || u.found {
		return
	}
	u.found = there
	for name := range object {
		if len(u.others) >= maxNamed {
			break
		}
		u.others[name] = true
	}
}

// Unseen returns an error for a field of the condition that no result has, although results have other fields in its place.
// Call it after [Filter.Matches] was called with all results.
func (f *Filter) Unseen() error {
	missing := slices.DeleteFunc(slices.Collect(maps.Keys(f.uses)), func(n *ast.MemberNode) bool { return f.uses[n].found || len(f.uses[n].others) == 0 })
	if len(missing) == 0 {
		return nil
	}
	first := slices.MinFunc(missing, func(a, b *ast.MemberNode) int {
		return cmp.Compare(a.Property.Location().From, b.Property.Location().From)
	})
	u := f.uses[first]
	return f.errorf(first.Property.Location(), "no %s has a field %s; there are %s", u.of, u.key, listed(slices.Collect(maps.Keys(u.others)), u.key))
}

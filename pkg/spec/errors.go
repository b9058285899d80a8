package spec

import (
	"fmt"
	"strings"

	"github.com/batchagent/batchagent/pkg/strictyaml"
)

type (
	// FieldError is one mistake in a spec or in a file that it names.
	FieldError = strictyaml.FieldError
	// Errors is a list of all mistakes that were found, ordered by file and line. A returned Errors is never empty.
	Errors = strictyaml.Errors
)

// BadInputsError reports that inputs cannot be used and that the spec does not skip them.
type BadInputsError struct {
	Count int64   // bad inputs
	Total int64   // all inputs
	First []Input // the first bad inputs, at most [MaxBadKept]
}

// Error returns one bad input per line.
func (e *BadInputsError) Error() string {
	var b strings.Builder
	for _, in := range e.First {
		fmt.Fprintf(&b, "%s: %s\n", in.Where, in.Bad)
	}
	if more := e.Count - int64(len(e.First)); more > 0 {
		fmt.Fprintf(&b, "and %d more\n", more)
	}
	fmt.Fprintf(&b, "%d of %d inputs cannot be used", e.Count, e.Total)
	if e.Count < e.Total {
		b.WriteString("; mend them, or set on_bad_input: skip to let only those jobs fail")
	}
	return b.String()
}

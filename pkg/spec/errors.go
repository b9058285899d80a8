package spec

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
)

// FieldError is one mistake in a spec or in a file that it names.
type FieldError struct {
	File    string // as the user named it
	Line    int    // 1-based; 0 if unknown
	Field   string // dotted path such as "timeouts.turn"; "" if the mistake is in no field
	Message string

	cause error // the error that callers may match, or nil
}

// Unwrap returns the cause, such as a missing file, or nil.
func (e *FieldError) Unwrap() error { return e.cause }

func (e *FieldError) Error() string {
	var b strings.Builder
	b.WriteString(place(e.File, e.Line))
	b.WriteString(": ")
	if e.Field != "" {
		fmt.Fprintf(&b, "field %s: ", e.Field)
	}
	b.WriteString(e.Message)
	return b.String()
}

// Errors is a list of all mistakes that were found, ordered by file and line. A returned Errors is never empty.
type Errors []*FieldError

// Error returns one mistake per line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, fe := range e {
		lines[i] = fe.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes each [FieldError] available to errors.As.
func (e Errors) Unwrap() []error {
	out := make([]error, len(e))
	for i, fe := range e {
		out[i] = fe
	}
	return out
}

// orNil sorts e and returns it as an error, or nil if it is empty.
func (e Errors) orNil() error {
	if len(e) == 0 {
		return nil
	}
	slices.SortStableFunc(e, func(a, b *FieldError) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return e
}

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

// place returns "file:line", or the file if line is 0.
func place(file string, line int) string {
	if line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}

// nearest returns the known name closest to name. known must not be empty. On a tie the first one wins.
func nearest(name string, known []string) string {
	return slices.MinFunc(known, func(a, b string) int {
		return cmp.Compare(levenshtein.Distance(name, a, nil), levenshtein.Distance(name, b, nil))
	})
}

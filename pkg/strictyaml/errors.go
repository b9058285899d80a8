package strictyaml

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
)

// FieldError is one mistake in a file.
type FieldError struct {
	File    string // as the user named it
	Line    int    // 1-based; 0 if unknown
	Field   string // dotted path such as "timeouts.turn"; "" if the mistake is in no field
	Message string
	Cause   error // the error that callers may match, or nil
}

// Unwrap returns the cause, such as a missing file, or nil.
func (e *FieldError) Unwrap() error { return e.Cause }

func (e *FieldError) Error() string {
	var b strings.Builder
	b.WriteString(Place(e.File, e.Line))
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

// OrNil sorts e and returns it as an error, or nil if it is empty.
func (e Errors) OrNil() error {
	if len(e) == 0 {
		return nil
	}
	slices.SortStableFunc(e, func(a, b *FieldError) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return e
}

// Place returns "file:line", or the file if line is 0.
func Place(file string, line int) string {
	if line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}

// Nearest returns the known name closest to name, or "" if known is empty. On a tie the first one wins.
func Nearest(name string, known []string) string {
	if len(known) == 0 {
		return ""
	}
	return slices.MinFunc(known, func(a, b string) int {
		return cmp.Compare(levenshtein.Distance(name, a, nil), levenshtein.Distance(name, b, nil))
	})
}

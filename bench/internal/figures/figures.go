// Package figures prints measurements: one line per run in the format of `go test -bench` and benchstat, and a summary with
// median and spread. It has no state beyond its values.
package figures

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
)

// Value is one measured number with its unit in benchstat's notation: "jobs/s", "s/batch", "B/job".
type Value struct {
	Number float64
	Unit   string
}

// Header prints the keys that benchstat shows once: the package, the machine and the commit.
func Header(w io.Writer, pkg string, extra ...string) {
	_, _ = fmt.Fprintf(w, "goos: %s\ngoarch: %s\npkg: %s\n", runtime.GOOS, runtime.GOARCH, pkg)
	for _, line := range append(machine(), extra...) {
		_, _ = fmt.Fprintln(w, line)
	}
}

// Line prints one run. name is for example "Queue/store=batchagent"; ops is the number of operations in the run.
func Line(w io.Writer, name string, ops int, values ...Value) {
	var b strings.Builder
	fmt.Fprintf(&b, "Benchmark%s-%d\t%d", name, runtime.GOMAXPROCS(0), ops)
	for _, v := range values {
		fmt.Fprintf(&b, "\t%s %s", number(v.Number), v.Unit)
	}
	_, _ = fmt.Fprintln(w, b.String())
}

// Series is one number over several runs.
type Series []float64

// Median returns the median of the runs, or 0 without runs.
func (s Series) Median() float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	if mid := len(sorted) / 2; len(sorted)%2 == 1 {
		return sorted[mid]
	} else {
		return (sorted[mid-1] + sorted[mid]) / 2
	}
}

// Quantile returns the smallest value that is not below the share q of the values. It returns 0 without values.
func (s Series) Quantile(q float64) float64 {
	if len(s) == 0 {
		return 0
	}
	rank := int(math.Ceil(q * float64(len(s))))
	return slices.Sorted(slices.Values(s))[min(max(rank, 1), len(s))-1]
}

// String returns "median [min-max]".
func (s Series) String() string {
	if len(s) == 0 {
		return "none"
	}
	return fmt.Sprintf("%s [%s-%s]", number(s.Median()), number(slices.Min(s)), number(slices.Max(s)))
}

// Over divides run by run. Runs of one round have the same conditions on the machine, so this ratio is steadier than that of two
// medians.
func (s Series) Over(base Series) Series {
	out := make(Series, 0, len(s))
	for i := range min(len(s), len(base)) {
		out = append(out, s[i]/base[i])
	}
	return out
}

// number formats f with three or four significant digits.
func number(f float64) string {
	switch {
	case f >= 1000:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	default:
		return fmt.Sprintf("%.3f", f)
	}
}

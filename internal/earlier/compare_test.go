package earlier

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/batchagent/batchagent/pkg/batch"
)

func TestRowsOfTwoRunsAreJoined(t *testing.T) {
	t.Parallel()
	row := func(index int64, id, fields string) batch.Result {
		return batch.Result{Index: index, ID: id, Row: fields}
	}
	for name, c := range map[string]struct {
		before, after []batch.Result
		want          []int64 // positions in before; -1 for none
		left          int
	}{
		"by ID":                    {[]batch.Result{row(0, "a", ""), row(1, "b", "")}, []batch.Result{row(0, "b", ""), row(1, "a", ""), row(2, "c", "")}, []int64{1, 0, -1}, 0},
		"by their fields":          {[]batch.Result{row(0, "", "x"), row(1, "", "y")}, []batch.Result{row(0, "", "y"), row(1, "", "x")}, []int64{1, 0}, 0},
		"an edited row":            {[]batch.Result{row(0, "", "x")}, []batch.Result{row(0, "", "z")}, []int64{-1}, 1},
		"equal rows":               {[]batch.Result{row(0, "", "x"), row(1, "", "x"), row(2, "", "x")}, []batch.Result{row(1, "", "x"), row(5, "", "x")}, []int64{1, 0}, 1},
		"of an earlier version":    {[]batch.Result{row(0, "", ""), row(1, "", "")}, []batch.Result{row(1, "", "y"), row(0, "", "")}, []int64{1, 0}, 0},
		"an earlier version after": {[]batch.Result{row(0, "a", "x"), row(1, "", "y")}, []batch.Result{row(0, "", ""), row(1, "", ""), row(2, "", "")}, []int64{0, 1, -1}, 0},
		"IDs in the second run":    {[]batch.Result{row(0, "", "x"), row(1, "", "y")}, []batch.Result{row(0, "b", "y"), row(1, "a", "x")}, []int64{1, 0}, 0},
		"IDs in the first run":     {[]batch.Result{row(0, "b", "y"), row(1, "a", "x")}, []batch.Result{row(0, "", "x"), row(1, "", "y")}, []int64{1, 0}, 0},
		"other IDs at an index":    {[]batch.Result{row(0, "a", "x")}, []batch.Result{row(0, "b", "y")}, []int64{-1}, 1},
		"a later result replaces":  {[]batch.Result{row(0, "", "x"), row(0, "", "x")}, []batch.Result{row(0, "", "x")}, []int64{1}, 0},
	} {
		rows := savedRows{jobs: map[int64]savedRow{}}
		for at, r := range c.before {
			rows.add(r, int64(at))
		}
		rows.group()
		for i, r := range c.after {
			at, ok := rows.take(r)
			if !ok {
				at = -1
			}
			assert.Equal(t, c.want[i], at, "%s: row %d", name, i)
		}
		assert.Len(t, rows.jobs, c.left, name)
	}
}

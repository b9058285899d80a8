package terminal

import (
	"strings"

	"github.com/batchagent/batchagent/internal/human"
)

const (
	columnGap    = 2
	columnLeast  = 12 // a column is not made narrower than this
	columnMost   = 60
	widthOfFiles = 120 // of a line if the output is no terminal
)

// grid is a table with columns of limited width. The first rows decide the widths.
type grid struct {
	names  []string
	widths []int
}

// newGrid returns the columns that fit into a line. keep is how many of the first ones are always kept. left lists the names
// of the others.
func newGrid(names []string, rows [][]string, line, keep int) (c grid, left []string) {
	c = grid{names, make([]int, len(names))}
	for _, row := range append([][]string{names}, rows...) {
		for i, cell := range row {
			c.widths[i] = min(max(c.widths[i], columns(cell)), columnMost)
		}
	}
	for c.total() > line {
		widest := 0
		for i, w := range c.widths {
			if w > c.widths[widest] {
				widest = i
			}
		}
		switch {
		case c.widths[widest] > columnLeast:
			c.widths[widest]--
		case len(c.widths) > keep:
			last := len(c.widths) - 1
			left = append([]string{c.names[last]}, left...)
			c.names, c.widths = c.names[:last], c.widths[:last]
		default:
			return c, left
		}
	}
	return c, left
}

func (c grid) total() int {
	sum := columnGap * (len(c.widths) - 1)
	for _, w := range c.widths {
		sum += w
	}
	return sum
}

// line formats one row. Cells that do not fit are cut.
func (c grid) line(row []string) string {
	var b strings.Builder
	for i, w := range c.widths {
		cell := fit(row[i], w)
		b.WriteString(cell)
		if i < len(c.widths)-1 {
			b.WriteString(strings.Repeat(" ", w-columns(cell)+columnGap))
		}
	}
	return strings.TrimRight(b.String(), " ") + "\n"
}

// oneLine returns the beginning of a text for a cell: one line without control characters.
func oneLine(s string) string { return human.FirstLine(s, 4*columnMost) }

// fit cuts a text to at most n columns.
func fit(s string, n int) string {
	text, _ := fitting(s, n)
	return text
}

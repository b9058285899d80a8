package collect

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
)

// csvWriter writes a table as CSV (RFC 4180) with a header. A missing value is an empty cell. Lists and objects are JSON.
type csvWriter struct {
	w     *csv.Writer
	table *table
	cells []string
}

func newCSVWriter(w io.Writer, t *table) (*csvWriter, error) {
	c := &csvWriter{w: csv.NewWriter(w), table: t, cells: make([]string, len(t.columns))}
	for i, column := range t.columns {
		c.cells[i] = harmless(column.name)
	}
	return c, c.w.Write(c.cells)
}

func (c *csvWriter) write(r row) error {
	for i, column := range c.table.columns {
		cell, err := cellOf(column.value(r))
		if err != nil {
			return err
		}
		c.cells[i] = cell
	}
	return c.w.Write(c.cells)
}

func (c *csvWriter) close() error {
	c.w.Flush()
	return c.w.Error()
}

func cellOf(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return harmless(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	}
	return textOf(v)
}

// harmless puts an apostrophe before a text that a spreadsheet would run as a formula. Numbers stay as they are.
func harmless(text string) string {
	if text == "" || !strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return text
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return text
	}
	return "'" + text
}

package terminal

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/term"

	"github.com/batchagent/batchagent/internal/earlier"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/filter"
)

const (
	rowsMeasured = 200 // rows that decide the widths of the columns
	fieldsShown  = 30  // fields of outputs that are looked for
)

// ShowResults writes a table of the results in a file that meet a condition. Nil shows all. Each field of the outputs has a
// column.
func ShowResults(ctx context.Context, from *earlier.Saved, where *filter.Filter, con *Console) error {
	t := &resultTable{con: con}
	if err := from.Each(ctx, where, t.add); err != nil {
		return err
	}
	return t.end()
}

// resultTable writes results as a table. It holds the first rows until it knows the widths of the columns.
type resultTable struct {
	con    *Console
	first  []batch.Result
	fields []string
	ids    bool  // results have IDs
	layout *grid // nil before the first line is written
	left   []string
	shown  int64
}

func (t *resultTable) add(r batch.Result) error {
	t.shown++
	r.Transcript = nil
	if t.layout != nil {
		return t.write(r)
	}
	t.first = append(t.first, r)
	if len(t.first) < rowsMeasured {
		return nil
	}
	return t.begin()
}

// begin decides the columns and writes the rows that were held.
func (t *resultTable) begin() error {
	for _, r := range t.first {
		t.ids = t.ids || r.ID != ""
		for _, name := range objectFields(r.Output) {
			if !slices.Contains(t.fields, name) && len(t.fields) < fieldsShown {
				t.fields = append(t.fields, name)
			}
		}
	}
	if len(t.fields) == 0 {
		t.fields = []string{outputColumn}
	}
	rows := make([][]string, len(t.first))
	for i, r := range t.first {
		rows[i] = t.row(r)
	}
	names := []string{"index", "status", "error"}
	if t.ids {
		names = slices.Insert(names, 1, "id")
	}
	layout, left := newGrid(append(names, t.fields...), rows, t.con.lineWidth(), len(names))
	t.layout, t.left = &layout, left
	if _, err := t.con.Stdout().Write([]byte(layout.line(layout.names))); err != nil {
		return err
	}
	for _, r := range t.first {
		if err := t.write(r); err != nil {
			return err
		}
	}
	t.first = nil
	return nil
}

// outputColumn is the column of outputs that are no objects.
const outputColumn = "output"

func (t *resultTable) row(r batch.Result) []string {
	row := []string{strconv.FormatInt(r.Index, 10)}
	if t.ids {
		row = append(row, oneLine(r.ID))
	}
	failure := ""
	if r.Error != nil {
		failure = oneLine(string(r.Error.Type) + ": " + r.Error.Message)
	}
	row = append(row, string(r.Status), failure)
	if len(t.fields) == 1 && t.fields[0] == outputColumn {
		return append(row, cellOf(r.Output))
	}
	var members map[string]json.RawMessage
	_ = json.Unmarshal(r.Output, &members) // another value has no members
	for _, name := range t.fields {
		row = append(row, cellOf(members[name]))
	}
	return row
}

// cellOf formats a JSON value for a cell.
func cellOf(raw json.RawMessage) string {
	var text string
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return ""
	case json.Unmarshal(raw, &text) == nil:
		return oneLine(text)
	}
	return oneLine(string(batch.PlainJSON(raw)))
}

func (t *resultTable) write(r batch.Result) error {
	_, err := t.con.Stdout().Write([]byte(human.Visible(t.layout.line(t.row(r)))))
	return err
}

func (t *resultTable) end() error {
	if t.layout == nil {
		if err := t.begin(); err != nil {
			return err
		}
	}
	line := human.Plural(t.shown, "result", "results")
	if len(t.left) > 0 {
		line += "; no space for the columns " + strings.Join(t.left, ", ")
	}
	t.con.Say(human.Visible(line))
	return nil
}

// objectFields returns the fields of a JSON object in their order; nil for another value.
func objectFields(raw json.RawMessage) []string {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	var names []string
	for d.More() {
		name, err := d.Token()
		var value json.RawMessage
		if err != nil || d.Decode(&value) != nil {
			return names
		}
		if text, ok := name.(string); ok {
			names = append(names, text)
		}
	}
	return names
}

// lineWidth returns how many characters a line of standard output has.
func (c *Console) lineWidth() int {
	if f, ok := c.to.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil {
			return w
		}
	}
	return widthOfFiles
}

// tokensText formats the tokens of a job.
func tokensText(u batch.Usage) string {
	return fmt.Sprintf("%s prompt (%s cached), %s completion", human.Count(u.PromptTokens), human.Count(u.CachedTokens), human.Count(u.CompletionTokens))
}

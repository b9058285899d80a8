package sqltool

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/batchagent/batchagent/pkg/plainjson"
	"github.com/batchagent/batchagent/pkg/redact"
)

const (
	maxCell = 16 << 10 // bytes of one value
	maxName = 1 << 10  // bytes of a column's name
	maxRow  = maxBytes // bytes of one row, after which its values are omitted
)

// table holds the rows of a statement, each as a JSON object with its columns in order.
type table struct {
	columns []string
	rows    [][]byte
	values  [][]any
	bytes   int
	cut     bool // more rows existed
}

type valueError struct{ text string }

func (e *valueError) Error() string { return e.text }

// readTable reads at most limit rows, and at most maxBytes for each 200 of them. It redacts secrets in long values.
func readTable(rows *sql.Rows, limit int, secrets *redact.Secrets) (*table, error) {
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	kinds, err := rows.ColumnTypes()
	if err != nil {
		return nil, err
	}
	t := &table{columns: unique(names)}
	form := rowForm{t.columns, make([]bool, len(kinds)), secrets}
	for i, k := range kinds {
		form.asJSON[i] = k.DatabaseTypeName() == "JSON" || k.DatabaseTypeName() == "JSONB"
	}
	room := maxBytes * max(1, limit/defaultMaxRows)
	for rows.Next() {
		if len(t.rows) == limit || t.bytes > room {
			t.cut = true
			return t, nil
		}
		values := make([]any, len(names))
		into := make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, &valueError{"a value of the result cannot be read; convert it to text in the statement"}
		}
		row := form.appendRow(nil, values)
		t.rows, t.values, t.bytes = append(t.rows, row), append(t.values, values), t.bytes+len(row)
	}
	return t, rows.Err()
}

// unique renames columns with duplicate names.
func unique(names []string) []string {
	used := map[string]bool{}
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = n
		for k := 2; used[out[i]]; k++ {
			out[i] = fmt.Sprintf("%s_%d", n, k)
		}
		used[out[i]] = true
	}
	return out
}

// rowForm encodes rows.
type rowForm struct {
	columns []string
	asJSON  []bool // of each column
	secrets *redact.Secrets
}

func (f rowForm) appendRow(b []byte, values []any) []byte {
	b = append(b, '{')
	for i, c := range f.columns {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(plainjson.AppendString(b, f.head(c, maxName)), ':')
		if len(b) > maxRow {
			b = append(b, `"[cut: the row is too long]"`...)
			continue
		}
		b = f.appendValue(b, values[i], f.asJSON[i])
	}
	return append(b, '}')
}

func (f rowForm) appendValue(b []byte, v any, asJSON bool) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return strconv.AppendBool(b, v)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return plainjson.AppendString(b, fmt.Sprint(v))
		}
		return strconv.AppendFloat(b, v, 'g', -1, 64)
	case time.Time:
		return plainjson.AppendString(b, v.Format(time.RFC3339Nano))
	case []byte:
		if asJSON && len(v) <= maxCell && json.Valid(v) {
			return append(b, v...)
		}
		if !utf8.Valid(v) {
			return plainjson.AppendString(b, fmt.Sprintf("(%d bytes of binary data)", len(v)))
		}
		return plainjson.AppendString(b, f.shorten(string(v)))
	case string:
		if asJSON && len(v) <= maxCell && json.Valid([]byte(v)) {
			return append(b, v...)
		}
		return plainjson.AppendString(b, f.shorten(v))
	default:
		return plainjson.AppendString(b, f.shorten(fmt.Sprint(v)))
	}
}

// shorten redacts secrets in a long value and then cuts it. Short values are redacted later, with the whole result.
func (f rowForm) shorten(s string) string {
	if len(s) <= maxCell {
		return s
	}
	return fmt.Sprintf("%s… [cut: the first %d of %d bytes]", f.head(s, maxCell), maxCell, len(s))
}

// head returns at most n bytes of the redacted s.
func (f rowForm) head(s string, n int) string {
	if len(s) <= n {
		return s
	}
	b, _ := io.ReadAll(io.LimitReader(f.secrets.Reader(strings.NewReader(s)), int64(n))) // a string has no errors
	return strings.ToValidUTF8(string(b), "")
}

// show formats rows for a model. Without rows it returns an empty list.
func show(rows [][]byte, cut bool) string {
	var out strings.Builder
	out.WriteByte('[')
	for i, r := range rows {
		if i > 0 {
			out.WriteString(",\n")
		}
		out.Write(r)
	}
	out.WriteByte(']')
	if cut {
		fmt.Fprintf(&out, "\n[cut: only the first %d rows are shown; narrow the query]", len(rows))
	}
	return out.String()
}

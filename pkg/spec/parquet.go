package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"
	parquettype "github.com/parquet-go/parquet-go/format"

	"github.com/batchagent/batchagent/pkg/plainjson"
	"github.com/batchagent/batchagent/pkg/strictyaml"
)

// sized is a file that can be read at any place.
type sized interface {
	io.ReaderAt
	Size() int64
}

// rowsAtOnce is how many rows of a Parquet file are decoded together.
const rowsAtOnce = 64

// decodeParquet returns one input per row of a Parquet file. The columns are its fields. A row's number stands for its line.
func decodeParquet(r io.Reader, name string, yield func(Input, error) bool) {
	file, ok := r.(sized)
	if !ok {
		yield(Input{}, fmt.Errorf("read %s: a Parquet file cannot be compressed as a whole; its columns are compressed", name))
		return
	}
	p, err := openParquet(file)
	if err != nil {
		yield(Input{}, fmt.Errorf("read %s: %w", name, err))
		return
	}
	number := 0
	for _, group := range p.file.RowGroups() {
		rows := parquetRows{columns: p, group: group}
		for {
			inputs, err := rows.next()
			for _, in := range inputs {
				number++
				in.Where, in.Names = strictyaml.Place(name, number), p.names
				if !yield(in, nil) {
					rows.close()
					return
				}
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				rows.close()
				yield(Input{}, fmt.Errorf("read %s: %w", strictyaml.Place(name, number+1), err))
				return
			}
		}
		rows.close()
	}
}

// parquetFile is an open file with its columns.
type parquetFile struct {
	file    *parquet.File
	columns []parquetColumn
	names   []string // of columns
}

func openParquet(file sized) (out parquetFile, err error) {
	defer damaged(&err)
	if err := checkFooter(file); err != nil {
		return out, err
	}
	out.file, err = parquet.OpenFile(file, file.Size(), parquet.SkipBloomFilters(true), parquet.SkipPageIndex(true))
	if err != nil {
		return out, fmt.Errorf("it is not a complete Parquet file: %w", err)
	}
	out.columns = columnsOf(out.file.Root())
	for _, c := range out.columns {
		out.names = append(out.names, c.name)
	}
	return out, checkHeader(out.names, ',')
}

// damaged converts a panic of the library, which some damaged files cause, into an error.
func damaged(err *error) {
	if cause := recover(); cause != nil {
		*err = fmt.Errorf("it is a damaged Parquet file: %v", cause)
	}
}

// parquetRows reads the rows of a row group.
type parquetRows struct {
	columns parquetFile
	group   parquet.RowGroup
	rows    parquet.Rows // nil until the first read
	buf     []parquet.Row
}

// next returns some rows, without their places. It returns io.EOF with or after the last one.
func (p *parquetRows) next() (inputs []Input, err error) {
	defer damaged(&err)
	if p.rows == nil {
		p.rows, p.buf = p.group.Rows(), make([]parquet.Row, rowsAtOnce)
	}
	n, err := p.rows.ReadRows(p.buf)
	for _, row := range p.buf[:n] {
		var in Input
		in.Fields, in.Bad = parquetFields(p.columns.columns, p.columns.names, row)
		inputs = append(inputs, in)
	}
	return inputs, err
}

func (p *parquetRows) close() {
	var err error // nothing was written
	defer damaged(&err)
	if p.rows != nil {
		_ = p.rows.Close()
	}
}

// parquetColumn is a column of a Parquet file, with the columns inside it.
type parquetColumn struct {
	name    string
	node    parquet.Node
	logical any // of package parquettype; nil without one
	inside  []parquetColumn
	leaves  int
}

func columnsOf(n parquet.Node) (out []parquetColumn) {
	for _, f := range n.Fields() {
		c := parquetColumn{name: f.Name(), node: f, leaves: 1}
		if t := f.Type(); t != nil && t.LogicalType() != nil {
			c.logical = t.LogicalType().Value
		}
		if !f.Leaf() {
			c.inside, c.leaves = columnsOf(f), 0
			for _, i := range c.inside {
				c.leaves += i.leaves
			}
		}
		out = append(out, c)
	}
	return out
}

// parquetFields returns the fields of a row, or the reason why it cannot be used.
func parquetFields(columns []parquetColumn, names []string, row parquet.Row) (fields map[string]any, bad string) {
	last := 0
	for _, c := range columns {
		last += c.leaves
	}
	values := make([][]parquet.Value, last)
	size := 0
	for _, v := range row {
		i := v.Column()
		values[i] = append(values[i], v)
		if size += 8; v.Kind() == parquet.ByteArray || v.Kind() == parquet.FixedLenByteArray {
			size += len(v.ByteArray())
		}
	}
	if size > maxInputBytes {
		return nil, fmt.Sprintf("the row is longer than %d MiB", maxInputBytes>>20)
	}
	fields = make(map[string]any, len(columns))
	at := 0
	for i, c := range columns {
		v, err := c.assemble(values[at:at+c.leaves], 0, 0)
		if err != nil {
			return nil, fmt.Sprintf("field %q: %v", names[i], err)
		}
		if _, nested := v.(parquetNested); nested {
			text, err := plainjson.Marshal(v)
			if err != nil {
				return nil, fmt.Sprintf("field %q: %v", names[i], err)
			}
			v = json.RawMessage(text)
		}
		fields[names[i]] = v
		at += c.leaves
	}
	return fields, ""
}

// parquetNested is a list or an object.
type parquetNested interface{ json.Marshaler }

type parquetList []any

// MarshalJSON implements json.Marshaler.
func (l parquetList) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return plainjson.Marshal([]any(l))
}

// parquetObject is an object with its members in order.
type parquetObject struct {
	names  []string
	values []any
}

// MarshalJSON implements json.Marshaler.
func (o parquetObject) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, name := range o.names {
		text, err := plainjson.Marshal(o.values[i])
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(plainjson.AppendString(b, name), ':'), text...)
	}
	return append(b, '}'), nil
}

// assemble returns the value of a column from the values of its leaves. repeated and defined are the levels of its parent.
func (c parquetColumn) assemble(leaves [][]parquet.Value, repeated, defined int) (any, error) {
	if len(leaves) == 0 || len(leaves[0]) == 0 {
		return nil, nil //nolint:nilnil // a group without columns is null
	}
	first := leaves[0][0]
	if c.node.Optional() {
		if first.DefinitionLevel() <= defined {
			return nil, nil //nolint:nilnil // null is a value
		}
		defined++
	}
	if !c.node.Repeated() {
		return c.one(leaves, repeated, defined)
	}
	if first.DefinitionLevel() <= defined {
		return parquetList(nil), nil
	}
	list := parquetList{}
	for item := range itemsOf(leaves, repeated+1) {
		v, err := c.one(item, repeated+1, defined+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// itemsOf yields the values of each element of a list, whose repetition level is level.
func itemsOf(leaves [][]parquet.Value, level int) func(yield func([][]parquet.Value) bool) {
	return func(yield func([][]parquet.Value) bool) {
		from := make([]int, len(leaves))
		for from[0] < len(leaves[0]) {
			item := make([][]parquet.Value, len(leaves))
			for i, values := range leaves {
				to := min(from[i]+1, len(values))
				for to < len(values) && values[to].RepetitionLevel() > level {
					to++
				}
				item[i], from[i] = values[from[i]:to], to
			}
			if !yield(item) {
				return
			}
		}
	}
}

// one returns one value of the column, which is not null.
func (c parquetColumn) one(leaves [][]parquet.Value, repeated, defined int) (any, error) {
	if c.node.Leaf() {
		return c.leaf(leaves[0][0])
	}
	if len(c.inside) == 1 && c.inside[0].node.Repeated() {
		inner := c.inside[0]
		switch c.logical.(type) {
		case *parquettype.ListType:
			return inner.list(leaves, repeated, defined)
		case *parquettype.MapType:
			return inner.object(leaves, repeated, defined)
		}
	}
	out := parquetObject{}
	at := 0
	for _, in := range c.inside {
		v, err := in.assemble(leaves[at:at+in.leaves], repeated, defined)
		if err != nil {
			return nil, err
		}
		at += in.leaves
		out.names, out.values = append(out.names, in.name), append(out.values, v)
	}
	return out, nil
}

// list returns the elements of a list. The column is its repeated group, which has one column by the usual convention.
func (c parquetColumn) list(leaves [][]parquet.Value, repeated, defined int) (any, error) {
	v, err := c.assemble(leaves, repeated, defined)
	list, ok := v.(parquetList)
	if err != nil || !ok || c.node.Leaf() || len(c.inside) != 1 || c.name != "list" && c.name != "bag" {
		return v, err
	}
	for i, e := range list {
		if o, ok := e.(parquetObject); ok && len(o.values) == 1 {
			list[i] = o.values[0]
		}
	}
	return list, nil
}

// object returns a map as an object if its keys are texts, and otherwise as a list of its pairs.
func (c parquetColumn) object(leaves [][]parquet.Value, repeated, defined int) (any, error) {
	v, err := c.assemble(leaves, repeated, defined)
	list, _ := v.(parquetList)
	out := parquetObject{}
	seen := map[string]bool{}
	for _, e := range list {
		pair, ok := e.(parquetObject)
		if !ok || len(pair.values) != 2 {
			return v, err
		}
		key, ok := pair.values[0].(string)
		if !ok || seen[key] {
			return v, err
		}
		seen[key] = true
		out.names, out.values = append(out.names, key), append(out.values, pair.values[1])
	}
	return out, err
}

// leaf returns a value of a leaf column.
func (c parquetColumn) leaf(v parquet.Value) (any, error) {
	number := func(n int64) (any, error) { return json.Number(strconv.FormatInt(n, 10)), nil }
	switch t := c.logical.(type) {
	case *parquettype.DecimalType:
		return decimal(v, int(t.Scale))
	case *parquettype.DateType:
		return time.Unix(int64(v.Int32())*24*60*60, 0).UTC().Format(time.DateOnly), nil
	case *parquettype.TimestampType:
		layout := "2006-01-02T15:04:05.999999999"
		if t.IsAdjustedToUTC {
			layout += "Z"
		}
		return instant(v.Int64(), t.Unit.String()).Format(layout), nil
	case *parquettype.TimeType:
		n := v.Int64()
		if v.Kind() == parquet.Int32 {
			n = int64(v.Int32())
		}
		return instant(n, t.Unit.String()).Format("15:04:05.999999999"), nil
	case *parquettype.Float16Type:
		return nil, errors.New("its numbers have 16 bits; write them with 32 or 64")
	case *parquettype.UUIDType:
		id, err := uuid.FromBytes(v.ByteArray())
		return id.String(), err
	case *parquettype.IntType:
		switch {
		case t.IsSigned:
		case v.Kind() == parquet.Int32:
			return number(int64(uint32(v.Int32())))
		default:
			return json.Number(strconv.FormatUint(uint64(v.Int64()), 10)), nil
		}
	}
	switch v.Kind() {
	case parquet.Boolean:
		return v.Boolean(), nil
	case parquet.Int32:
		return number(int64(v.Int32()))
	case parquet.Int64:
		return number(v.Int64())
	case parquet.Int96:
		return julian(v), nil
	case parquet.Float:
		return float(float64(v.Float()), 32), nil
	case parquet.Double:
		return float(v.Double(), 64), nil
	}
	text := v.ByteArray()
	switch {
	case !utf8.Valid(text):
		return nil, errors.New("its bytes are not UTF-8 text; leave the column out of the file")
	case bytes.IndexByte(text, 0) >= 0:
		return nil, errNUL
	}
	return string(text), nil
}

// float returns a number. NaN, which JSON does not have, is null: pandas writes it for a missing value.
func float(f float64, bits int) any {
	switch {
	case math.IsNaN(f):
		return nil
	case math.IsInf(f, 0):
		return strings.TrimPrefix(strconv.FormatFloat(f, 'g', -1, bits), "+")
	}
	return json.Number(strconv.FormatFloat(f, 'g', -1, bits))
}

func instant(n int64, unit string) time.Time {
	switch unit {
	case "MILLIS":
		return time.UnixMilli(n).UTC()
	case "MICROS":
		return time.UnixMicro(n).UTC()
	}
	return time.Unix(0, n).UTC()
}

// julian returns the time of a 96-bit timestamp, as old programs write it: nanoseconds of a day, and the Julian day.
func julian(v parquet.Value) string {
	const unixEpoch = 2440588
	n := v.Int96()
	day := int64(n[2]) - unixEpoch
	return time.Unix(day*24*60*60, int64(uint64(n[1])<<32|uint64(n[0]))).UTC().Format("2006-01-02T15:04:05.999999999")
}

// decimal returns a decimal number with all its digits.
func decimal(v parquet.Value, scale int) (any, error) {
	n := new(big.Int)
	switch v.Kind() {
	case parquet.Int32:
		n.SetInt64(int64(v.Int32()))
	case parquet.Int64:
		n.SetInt64(v.Int64())
	default:
		b := v.ByteArray()
		if n.SetBytes(b); len(b) > 0 && b[0]&0x80 != 0 {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
		}
	}
	digits := new(big.Int).Abs(n).String()
	if scale < 0 || scale > 1_000 {
		return nil, fmt.Errorf("a decimal number with %d digits after the point", scale)
	}
	if scale > 0 {
		if len(digits) <= scale {
			digits = strings.Repeat("0", scale+1-len(digits)) + digits
		}
		digits = digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
	}
	if n.Sign() < 0 {
		digits = "-" + digits
	}
	return json.Number(digits), nil
}

package collect

import (
	"encoding/json"
	"io"
	"reflect"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// Limits of a row group. The writer holds one row group in memory.
const (
	groupRows  = 100_000
	groupBytes = 32 << 20
)

// parquetWriter writes a table as Parquet. Every column may be null. Lists and objects of known shape are lists and structs;
// others are JSON in a text.
type parquetWriter struct {
	w      *parquet.GenericWriter[any]
	table  *table
	leaves [][]parquet.Value // values of the current row, by leaf column
	row    parquet.Row
	rows   int
	size   int // of the values in the row group, in bytes
}

func newParquetWriter(w io.Writer, t *table) (*parquetWriter, error) {
	root := orderedGroup{Group: parquet.Group{}}
	leaves := 0
	for _, c := range t.columns {
		root.add(c.name, nodeOf(c.shape))
		leaves += c.shape.leaves()
	}
	schema := parquet.NewSchema("results", root)
	return &parquetWriter{
		w:     parquet.NewGenericWriter[any](w, schema, parquet.Compression(&zstd.Codec{Level: zstd.SpeedFastest}), parquet.CreatedBy("batchagent", "", "")),
		table: t, leaves: make([][]parquet.Value, leaves),
	}, nil
}

func (p *parquetWriter) write(r row) error {
	for i := range p.leaves {
		p.leaves[i] = p.leaves[i][:0]
	}
	leaf := 0
	for _, c := range p.table.columns {
		if err := p.shred(c.shape, c.value(r), leaf, 0, 0, 0); err != nil {
			return err
		}
		leaf += c.shape.leaves()
	}
	p.row = p.row[:0]
	for _, values := range p.leaves {
		p.row = append(p.row, values...)
	}
	if _, err := p.w.WriteRows([]parquet.Row{p.row}); err != nil {
		return err
	}
	if p.rows++; p.rows >= groupRows || p.size >= groupBytes {
		p.rows, p.size = 0, 0
		return p.w.Flush()
	}
	return nil
}

func (p *parquetWriter) close() error { return p.w.Close() }

// shred adds a value to its leaf columns, from the column leaf on. repeated is the repetition level of the value, level is
// that of its list, and defined is the definition level of its parent.
func (p *parquetWriter) shred(s *shape, v any, leaf, repeated, level, defined int) error {
	if v == nil {
		for i := range s.leaves() {
			p.leaves[leaf+i] = append(p.leaves[leaf+i], parquet.NullValue().Level(repeated, defined, leaf+i))
		}
		return nil
	}
	defined++
	switch s.kind {
	case structKind:
		object, _ := v.(map[string]any)
		for _, m := range s.members {
			if err := p.shred(m.shape, object[m.name], leaf, repeated, level, defined); err != nil {
				return err
			}
			leaf += m.shape.leaves()
		}
		return nil
	case listKind:
		list, _ := v.([]any)
		if len(list) == 0 {
			for i := range s.leaves() {
				p.leaves[leaf+i] = append(p.leaves[leaf+i], parquet.NullValue().Level(repeated, defined, leaf+i))
			}
		}
		for i, e := range list {
			if i > 0 {
				repeated = level + 1
			}
			if err := p.shred(s.element, e, leaf, repeated, level+1, defined+1); err != nil {
				return err
			}
		}
		return nil
	}
	value, err := valueOf(s.kind, v)
	if err != nil {
		return err
	}
	p.size += 8
	if value.Kind() == parquet.ByteArray {
		p.size += len(value.ByteArray())
	}
	p.leaves[leaf] = append(p.leaves[leaf], value.Level(repeated, defined, leaf))
	return nil
}

// valueOf converts a value that fits the kind.
func valueOf(k kind, v any) (parquet.Value, error) {
	n, _ := v.(json.Number)
	switch k {
	case boolKind:
		b, _ := v.(bool)
		return parquet.BooleanValue(b), nil
	case intKind, longKind:
		if i, ok := v.(int64); ok {
			return parquet.Int64Value(i), nil
		}
		i, _ := integer(n)
		return parquet.Int64Value(i), nil
	case floatKind:
		f, err := n.Float64()
		return parquet.DoubleValue(f), err
	}
	text, err := textOf(v)
	return parquet.ByteArrayValue([]byte(text)), err
}

// leaves returns the number of Parquet columns of a shape.
func (s *shape) leaves() int {
	switch s.kind {
	case structKind:
		n := 0
		for _, m := range s.members {
			n += m.shape.leaves()
		}
		return n
	case listKind:
		return s.element.leaves()
	}
	return 1
}

// nodeOf returns the Parquet type of a shape.
func nodeOf(s *shape) parquet.Node {
	switch s.kind {
	case boolKind:
		return parquet.Optional(parquet.Leaf(parquet.BooleanType))
	case intKind, longKind:
		return parquet.Optional(parquet.Int(64))
	case floatKind:
		return parquet.Optional(parquet.Leaf(parquet.DoubleType))
	case listKind:
		return parquet.Optional(parquet.List(nodeOf(s.element)))
	case structKind:
		g := orderedGroup{Group: parquet.Group{}}
		for _, m := range s.members {
			g.add(m.name, nodeOf(m.shape))
		}
		return parquet.Optional(g)
	}
	return parquet.Optional(parquet.String())
}

// orderedGroup is a group with its fields in the order in which they were added. A parquet.Group sorts them by name.
type orderedGroup struct {
	parquet.Group
	order map[string]int
}

func (g *orderedGroup) add(name string, n parquet.Node) {
	if g.order == nil {
		g.order = map[string]int{}
	}
	g.order[name] = len(g.order)
	g.Group[name] = n
}

// Fields implements parquet.Node.
func (g orderedGroup) Fields() []parquet.Field {
	out := make([]parquet.Field, len(g.order))
	for _, f := range g.Group.Fields() {
		out[g.order[f.Name()]] = f
	}
	return out
}

// GoType implements parquet.Node. That of a parquet.Group is a struct, which cannot have all names.
func (g orderedGroup) GoType() reflect.Type { return reflect.TypeFor[map[string]any]() }

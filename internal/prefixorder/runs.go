package prefixorder

import (
	"bufio"
	"container/heap"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
)

// extent is where a run is in the spool: its payloads from begin to keys, then its keys to end.
type extent struct{ begin, keys, end int64 }

// bufferBytes is of one reader or writer of a run.
const bufferBytes = 32 << 10

// writeRun writes sorted records to the file from begin on. The file may not grow beyond most.
func writeRun(f *os.File, begin, most int64, records []record) (extent, error) {
	e := extent{begin: begin, keys: begin}
	for _, r := range records {
		e.keys += int64(len(r.payload))
	}
	e.end = e.keys
	var head []byte
	for _, r := range records {
		head = appendHead(head[:0], r)
		e.end += int64(len(head) + len(r.key))
	}
	if e.end > most {
		return e, fmt.Errorf("%w: they need more than %d MiB of temporary disk space", ErrTooLarge, most>>20)
	}
	w := bufio.NewWriterSize(io.NewOffsetWriter(f, begin), bufferBytes)
	for _, r := range records {
		_, _ = w.Write(r.payload) // a bufio.Writer keeps its error for Flush
	}
	for _, r := range records {
		_, _ = w.Write(appendHead(head[:0], r))
		_, _ = w.Write(r.key)
	}
	if err := w.Flush(); err != nil {
		return e, fmt.Errorf("%w: %w", ErrSpace, err)
	}
	return e, nil
}

// appendHead appends what precedes a record's key: four numbers.
func appendHead(b []byte, r record) []byte {
	for _, n := range []int64{r.place, r.index, int64(len(r.key)), int64(len(r.payload))} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b
}

// cursor reads one run. It holds one key, and no payload.
type cursor struct {
	keys     *bufio.Reader
	payloads *bufio.Reader // nil leaves payloads out
	head     record        // without its payload
	size     int64         // of the head's payload
}

func newCursor(f *os.File, e extent, payloads bool) *cursor {
	c := &cursor{keys: bufio.NewReaderSize(io.NewSectionReader(f, e.keys, e.end-e.keys), bufferBytes)}
	if payloads {
		c.payloads = bufio.NewReaderSize(io.NewSectionReader(f, e.begin, e.keys-e.begin), bufferBytes)
	}
	return c
}

// next reads the head of the next record. It returns false at the end of the run.
func (c *cursor) next() (bool, error) {
	if _, err := c.keys.Peek(1); errors.Is(err, io.EOF) {
		return false, nil
	}
	var n [4]int64
	for i := range n {
		v, err := binary.ReadUvarint(c.keys)
		if err != nil {
			return false, fmt.Errorf("read a sorted job: %w", err)
		}
		n[i] = int64(v)
	}
	key := c.head.key
	if int64(cap(key)) < n[2] {
		key = make([]byte, n[2])
	}
	c.head, c.size = record{key: key[:n[2]], place: n[0], index: n[1]}, n[3]
	if _, err := io.ReadFull(c.keys, c.head.key); err != nil {
		return false, fmt.Errorf("read the key of a sorted job: %w", err)
	}
	return true, nil
}

// record returns the head with its payload.
func (c *cursor) record() (record, error) {
	r := c.head
	if c.payloads == nil {
		return r, nil
	}
	r.payload = make([]byte, c.size)
	if _, err := io.ReadFull(c.payloads, r.payload); err != nil {
		return r, fmt.Errorf("read a sorted job: %w", err)
	}
	return r, nil
}

// cursors are a heap: the first one has the smallest head.
type cursors []*cursor

func (c cursors) Len() int           { return len(c) }
func (c cursors) Less(i, j int) bool { return c[i].head.compare(c[j].head) < 0 }
func (c cursors) Swap(i, j int)      { c[i], c[j] = c[j], c[i] }
func (c *cursors) Push(x any)        { *c = append(*c, x.(*cursor)) }
func (c *cursors) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}

// merged yields the records of all runs in order.
func merged(ctx context.Context, f *os.File, runs []extent, payloads bool) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		if err := merge(ctx, f, runs, payloads, func(r record) bool { return yield(r, nil) }); err != nil {
			yield(record{}, err)
		}
	}
}

func merge(ctx context.Context, f *os.File, runs []extent, payloads bool, yield func(record) bool) error {
	var heads cursors
	for _, e := range runs {
		c := newCursor(f, e, payloads)
		if more, err := c.next(); err != nil {
			return err
		} else if more {
			heads = append(heads, c)
		}
	}
	heap.Init(&heads)
	for len(heads) > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c := heads[0]
		r, err := c.record()
		if err != nil {
			return err
		}
		if !yield(r) {
			return nil
		}
		more, err := c.next()
		if err != nil {
			return err
		}
		if more {
			heap.Fix(&heads, 0)
		} else {
			heap.Pop(&heads)
		}
	}
	return nil
}

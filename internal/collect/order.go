package collect

import (
	"iter"
	"maps"
	"slices"

	"github.com/batchagent/batchagent/pkg/statestore"
)

// order sorts results by index. It keeps only the cursors of results that arrived early, about 50 bytes each.
type order struct {
	have Bitmap          // written
	turn int64           // next index to write
	held map[int64]int64 // index -> cursor
}

// newOrder starts with the indexes that are already written.
func newOrder(have Bitmap) *order {
	return &order{have: slices.Clone(have), turn: have.firstClear(0), held: make(map[int64]int64)}
}

// hold keeps a result until its turn. It returns false if the job was already written; its new result is written at
// once.
func (o *order) hold(e statestore.Entry) bool {
	if o.have.Has(e.Index) {
		return false
	}
	o.held[e.Index] = e.Cursor
	return true
}

// due yields the index and cursor of the next result for as long as the previous one was written.
func (o *order) due() iter.Seq2[int64, int64] {
	return func(yield func(index, cursor int64) bool) {
		for {
			index := o.turn
			cursor, ok := o.held[index]
			if !ok || !yield(index, cursor) || o.turn == index {
				return
			}
		}
	}
}

// rest yields all held results in index order, with gaps.
func (o *order) rest() iter.Seq2[int64, int64] {
	return func(yield func(index, cursor int64) bool) {
		for _, index := range slices.Sorted(maps.Keys(o.held)) {
			if !yield(index, o.held[index]) {
				return
			}
		}
	}
}

// written marks a held result as written.
func (o *order) written(index int64) {
	delete(o.held, index)
	o.have.Set(index)
	o.turn = o.have.firstClear(o.turn)
}

// forget drops the held results. They will be read again.
func (o *order) forget() { clear(o.held) }

// lost drops a held result that is missing now. A retry took it back, and a new result will follow.
func (o *order) lost(index int64) { delete(o.held, index) }

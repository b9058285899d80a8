package coordinator

import (
	"iter"
	"maps"
	"slices"

	"github.com/batchagent/batchagent/pkg/statestore"
)

// order brings results into the order of their indexes. It holds where a result stands and never the result: about 50
// bytes for each one that came before its turn.
type order struct {
	have bitmap          // written
	turn int64           // the index whose turn it is
	held map[int64]int64 // index -> cursor
}

// newOrder begins with the indexes that are written already.
func newOrder(have bitmap) *order {
	return &order{have: slices.Clone(have), turn: have.firstClear(0), held: make(map[int64]int64)}
}

// hold keeps a result until its turn. It reports false for a job that was written before: that turn is over, and the
// result goes out at once.
func (o *order) hold(e statestore.Entry) bool {
	if o.have.has(e.Index) {
		return false
	}
	o.held[e.Index] = e.Cursor
	return true
}

// due gives the index and cursor of each result whose turn it is, as long as the one before was written.
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

// rest gives what is held, in order, with gaps.
func (o *order) rest() iter.Seq2[int64, int64] {
	return func(yield func(index, cursor int64) bool) {
		for _, index := range slices.Sorted(maps.Keys(o.held)) {
			if !yield(index, o.held[index]) {
				return
			}
		}
	}
}

// written says that a held result is written.
func (o *order) written(index int64) {
	delete(o.held, index)
	o.have.set(index)
	o.turn = o.have.firstClear(o.turn)
}

// forget drops what is held, which will come again.
func (o *order) forget() { clear(o.held) }

// lost says that a held result is not there any more: it was taken back by retry, and will come again.
func (o *order) lost(index int64) { delete(o.held, index) }

package collect

import "math/bits"

// Bitmap is a set of job indexes: one bit per job.
type Bitmap []uint64

func (b Bitmap) Has(i int64) bool {
	w := i / 64
	return w < int64(len(b)) && b[w]&(1<<(i%64)) != 0
}

func (b *Bitmap) Set(i int64) {
	for int64(len(*b)) <= i/64 {
		*b = append(*b, 0)
	}
	(*b)[i/64] |= 1 << (i % 64)
}

func (b Bitmap) clear(i int64) {
	if w := i / 64; w < int64(len(b)) {
		b[w] &^= 1 << (i % 64)
	}
}

// size returns a number above every index in the set.
func (b Bitmap) size() int64 { return int64(len(b)) * 64 }

// firstClear returns the first index from i on that is not in the set.
func (b Bitmap) firstClear(i int64) int64 {
	for b.Has(i) {
		i++
	}
	return i
}

func (b Bitmap) Count() int64 {
	n := 0
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return int64(n)
}

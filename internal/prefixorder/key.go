package prefixorder

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

const (
	blockBytes = 128
	hashBytes  = 8
	rankBytes  = 8
	// maxBlocks bounds a key to 64 KiB. Prompts that share the first MiB are equal to the sort.
	maxBlocks = 8 << 10
	// maxRanks bounds the memory of a ranking to about 10 MiB.
	maxRanks = 1 << 18
)

// hashes returns the hash of each whole block of a prompt. Equal prefixes have equal hashes, up to the last whole block.
func hashes(prompt string) []byte {
	blocks := min(len(prompt)/blockBytes, maxBlocks)
	key := make([]byte, 0, blocks*hashBytes)
	for b := range blocks {
		key = binary.BigEndian.AppendUint64(key, xxhash.Sum64String(prompt[b*blockBytes:(b+1)*blockBytes]))
	}
	return key
}

// shared returns how many bytes of the prompts with these hashes are a common prefix, in whole blocks.
func shared(a, b []byte) int {
	n := 0
	for n+hashBytes <= min(len(a), len(b)) && [hashBytes]byte(a[n:]) == [hashBytes]byte(b[n:]) {
		n += hashBytes
	}
	return n / hashBytes * blockBytes
}

// saved returns the bytes of the second prompt that its neighbour's prefix saves: 0 if too few are shared to matter.
func saved(a, b []byte) int {
	n := shared(a, b)
	if !counts(n, len(a)/hashBytes*blockBytes, len(b)/hashBytes*blockBytes) {
		return 0
	}
	return n
}

// ranking gives each beginning of a prompt the place of the first job that has it. Its memory is bounded.
type ranking struct {
	places map[uint64]int64
	most   int
}

func newRanking() *ranking { return &ranking{places: map[uint64]int64{}, most: maxRanks} }

// of returns the rank of the job at a place. A prompt that is too short to share anything has a rank of its own. Once the ranking
// is full, new beginnings share the last rank.
func (r *ranking) of(place int64, hashes []byte) uint64 {
	const beginning = MinShared / blockBytes * hashBytes
	if len(hashes) < beginning {
		return uint64(place)
	}
	sum := xxhash.Sum64(hashes[:beginning])
	first, known := r.places[sum]
	switch {
	case known:
		return uint64(first)
	case len(r.places) < r.most:
		r.places[sum] = place
		return uint64(place)
	}
	return 1<<63 - 1
}

package vllmsim

import (
	"fmt"
	"slices"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// prefixCache is the set of blocks with cached KV; the least recently used is evicted first. It is not safe for concurrent use.
type prefixCache struct {
	blocks *simplelru.LRU[uint64, struct{}]
}

func newPrefixCache(blocks int) (*prefixCache, error) {
	lru, err := simplelru.NewLRU[uint64, struct{}](blocks, nil)
	if err != nil {
		return nil, fmt.Errorf("prefix cache of %d blocks: %w", blocks, err)
	}
	return &prefixCache{blocks: lru}, nil
}

// lookup returns the number of leading blocks that are cached.
func (p *prefixCache) lookup(blocks []uint64) int {
	for i, b := range blocks {
		if !p.blocks.Contains(b) {
			return i
		}
	}
	return len(blocks)
}

// insert adds blocks, or marks them as recent. The last block is added first, because a prefix must outlive the blocks after it.
func (p *prefixCache) insert(blocks []uint64) {
	for _, b := range slices.Backward(blocks) {
		p.blocks.Add(b, struct{}{})
	}
}

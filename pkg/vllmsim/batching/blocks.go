package batching

// none ends a list of blocks.
const none = -1

// block is one page of the KV cache.
type block struct {
	hash       uint64 // of the sequence up to the block's end; 0 if unknown or not reusable
	users      int32
	prev, next int32 // among the free blocks
}

// pool is the paged KV cache. An unused block is free, but its content can be reused until the block is taken. Blocks that have
// been free longest are taken first.
type pool struct {
	blocks      []block
	byHash      map[uint64]int32 // blocks whose content can be reused
	first, last int32            // of the free blocks: first is taken next
	free        int
	reuse       bool
}

func newPool(n int, reuse bool) *pool {
	p := &pool{blocks: make([]block, n), byHash: make(map[uint64]int32, n), first: none, last: none, reuse: reuse}
	for i := range p.blocks {
		p.pushFree(int32(i)) //nolint:gosec // a pool has far fewer blocks
	}
	return p
}

// held returns how many leading hashes are in the cache, and how many of their blocks are free.
func (p *pool) held(hashes []uint64) (n, free int) {
	for _, h := range hashes {
		b, ok := p.byHash[h]
		if !ok {
			break
		}
		n++
		if p.blocks[b].users == 0 {
			free++
		}
	}
	return n, free
}

// use appends the blocks of hashes to into. All of them must be held.
func (p *pool) use(into []int32, hashes []uint64) []int32 {
	for _, h := range hashes {
		b := p.byHash[h]
		if p.blocks[b].users == 0 {
			p.unlink(b)
		}
		p.blocks[b].users++
		into = append(into, b)
	}
	return into
}

// take appends n fresh blocks to into. The caller must have checked that n blocks are free.
func (p *pool) take(into []int32, n int) []int32 {
	for range n {
		b := p.first
		p.unlink(b)
		p.forget(b)
		p.blocks[b].users = 1
		into = append(into, b)
	}
	return into
}

// name makes a block's content reusable under its hash. It does nothing if another block already has the hash.
func (p *pool) name(b int32, hash uint64) {
	if !p.reuse || hash == 0 || p.blocks[b].hash != 0 {
		return
	}
	if _, taken := p.byHash[hash]; taken {
		return
	}
	p.blocks[b].hash = hash
	p.byHash[hash] = b
}

// release frees the blocks, the last one first. The end of a sequence is therefore lost before its start.
func (p *pool) release(blocks []int32) {
	for i := len(blocks) - 1; i >= 0; i-- {
		b := blocks[i]
		p.blocks[b].users--
		if p.blocks[b].users == 0 {
			p.pushFree(b)
		}
	}
}

func (p *pool) forget(b int32) {
	if h := p.blocks[b].hash; h != 0 {
		delete(p.byHash, h)
		p.blocks[b].hash = 0
	}
}

func (p *pool) pushFree(b int32) {
	p.blocks[b].prev, p.blocks[b].next = p.last, none
	if p.last == none {
		p.first = b
	} else {
		p.blocks[p.last].next = b
	}
	p.last = b
	p.free++
}

func (p *pool) unlink(b int32) {
	prev, next := p.blocks[b].prev, p.blocks[b].next
	if prev == none {
		p.first = next
	} else {
		p.blocks[prev].next = next
	}
	if next == none {
		p.last = prev
	} else {
		p.blocks[next].prev = prev
	}
	p.free--
}

package batching

import "container/list"

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
	host        *host // nil without a second tier
}

func newPool(n int, reuse bool, hostBlocks int) *pool {
	p := &pool{blocks: make([]block, n), byHash: make(map[uint64]int32, n), first: none, last: none, reuse: reuse}
	if hostBlocks > 0 {
		p.host = &host{limit: hostBlocks, at: map[uint64]*list.Element{}}
	}
	for i := range p.blocks {
		p.pushFree(int32(i)) //nolint:gosec // a pool has far fewer blocks
	}
	return p
}

// hits describes the leading blocks of a request that need not be computed.
type hits struct {
	blocks int // in the cache or in the host's memory
	free   int // in the cache, and not used by others
	loads  int // in the host's memory only
}

func (p *pool) held(hashes []uint64) (h hits) {
	for _, hash := range hashes {
		b, ok := p.byHash[hash]
		switch {
		case ok && p.blocks[b].users == 0:
			h.free++
		case ok:
		case p.host.has(hash):
			h.loads++
		default:
			return h
		}
		h.blocks++
	}
	return h
}

// use appends the blocks of hashes to into. All of them must be held. Those in the host's memory are loaded into fresh blocks.
func (p *pool) use(into []int32, hashes []uint64) []int32 {
	start := len(into)
	for _, h := range hashes { // first, so that fresh blocks do not take their place
		b, ok := p.byHash[h]
		if !ok {
			into = append(into, none)
			continue
		}
		if p.blocks[b].users == 0 {
			p.unlink(b)
		}
		p.blocks[b].users++
		into = append(into, b)
	}
	for i, h := range hashes {
		if into[start+i] == none {
			into[start+i] = p.take(nil, 1)[0]
			p.name(into[start+i], h)
		}
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
		p.host.put(h)
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

// host is the second tier of the cache: content that lost its block, the least recently put is dropped first. A nil host is
// empty and stays so.
type host struct {
	limit int
	order list.List // of hashes
	at    map[uint64]*list.Element
}

func (h *host) has(hash uint64) bool { return h != nil && h.at[hash] != nil }

func (h *host) put(hash uint64) {
	if h == nil {
		return
	}
	if e := h.at[hash]; e != nil {
		h.order.MoveToBack(e)
		return
	}
	h.at[hash] = h.order.PushBack(hash)
	if h.order.Len() > h.limit {
		oldest := h.order.Front()
		delete(h.at, h.order.Remove(oldest).(uint64)) //nolint:forcetypeassert // the list holds nothing else
	}
}

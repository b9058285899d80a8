package toolpool

import (
	"fmt"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// cacheOverhead is the approximate size of an entry beside its content, in bytes.
const cacheOverhead = 200

// cache keeps results. It limits their number and their bytes, and evicts the least recently used first. It has no
// lock of its own: Pool.mu guards it, so that a look-up and the decision to execute are one step.
//
// It does not use the library's expirable LRU, because nothing can stop that LRU's goroutine. An expired entry leaves
// on its next look-up or when it is the least recently used.
type cache struct {
	lru   *simplelru.LRU[key, cached]
	limit int
	bytes int
}

type cached struct {
	content string
	expires time.Time // zero: never
}

func newCache(entries, limit int) (*cache, error) {
	c := &cache{limit: limit}
	lru, err := simplelru.NewLRU(entries, func(_ key, v cached) { c.bytes -= size(v) })
	if err != nil {
		return nil, fmt.Errorf("make tool cache: %w", err)
	}
	c.lru = lru
	return c, nil
}

func (c *cache) get(k key, now time.Time) (string, bool) {
	v, ok := c.lru.Get(k)
	if !ok {
		return "", false
	}
	if !v.expires.IsZero() && !now.Before(v.expires) {
		c.lru.Remove(k)
		return "", false
	}
	return v.content, true
}

// add stores a result, unless the result alone would fill more than a quarter of the cache.
func (c *cache) add(k key, content string, expires time.Time) {
	v := cached{content: content, expires: expires}
	c.lru.Remove(k) // replacing in place does not call the eviction callback, so the byte count would drift
	if size(v) > c.limit/4 {
		return
	}
	c.lru.Add(k, v)
	c.bytes += size(v)
	for c.bytes > c.limit {
		c.lru.RemoveOldest()
	}
}

func size(v cached) int { return len(v.content) + cacheOverhead }

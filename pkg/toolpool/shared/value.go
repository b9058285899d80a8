package shared

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/batchagent/batchagent/pkg/toolpool"
)

const (
	compressFrom = 1 << 10  // bytes; shorter texts gain nothing
	inlineUpTo   = 32 << 10 // bytes, compressed; a longer body is kept beside, and read and written outside of scripts
	maxBody      = 8 << 20  // bytes, compressed; a longer one is not shared
	maxContent   = 64 << 20 // bytes, once decompressed
)

// The first character of an encoded outcome says how it went, the second how the rest is written.
const (
	wentWell = 'o'
	wentBad  = 'f'

	writtenPlain = 'p'
	writtenZstd  = 'z'
	writtenBlob  = 'b' // the rest is the token in the name of the key that holds the body, compressed
	writtenNot   = 'n' // too long to be shared
)

// errGone says that the body of an outcome is not there any more.
var errGone = errors.New("the body of a shared result has expired")

// codec compresses. Safe for concurrent use.
type codec struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
}

func newCodec() (codec, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2))
	if err != nil {
		return codec{}, fmt.Errorf("make a compressor: %w", err)
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(maxContent))
	if err != nil {
		return codec{}, fmt.Errorf("make a decompressor: %w", err)
	}
	return codec{e, d}, nil
}

// encode writes an outcome. A long one has a body that is kept beside it.
func (c codec) encode(o toolpool.Shared, token string) (text string, body []byte) {
	went := byte(wentWell)
	if o.Failed {
		went = wentBad
	}
	if len(o.Content) < compressFrom {
		return string([]byte{went, writtenPlain}) + o.Content, nil
	}
	packed := c.encoder.EncodeAll([]byte(o.Content), nil)
	switch {
	case len(packed) > maxBody || len(o.Content) > maxContent:
		return string([]byte{went, writtenNot}), nil
	case len(packed) > inlineUpTo:
		return string([]byte{went, writtenBlob}) + token, packed
	default:
		return string([]byte{went, writtenZstd}) + string(packed), nil
	}
}

// decode reads an outcome, and its body if that is kept beside it.
func (s *Sharer) decode(ctx context.Context, keys callKeys, text string) (toolpool.Shared, error) {
	if len(text) < 2 {
		return toolpool.Shared{}, errors.New("a shared result is not in a form that this version writes")
	}
	o := toolpool.Shared{Failed: text[0] == wentBad}
	rest := text[2:]
	switch text[1] {
	case writtenPlain:
		o.Content = strings.Clone(rest)
		return o, nil
	case writtenZstd:
		return s.codec.unpack(o, []byte(rest))
	case writtenBlob:
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		body, err := s.cfg.Commands.Get(ctx, keys.blob(rest)).Bytes()
		if isNil(err) {
			return o, errGone
		}
		if err != nil {
			return o, fmt.Errorf("read the body of a shared result: %w", err)
		}
		return s.codec.unpack(o, body)
	default:
		return o, errors.New("a shared result is too long to be passed on")
	}
}

func (c codec) unpack(o toolpool.Shared, packed []byte) (toolpool.Shared, error) {
	content, err := c.decoder.DecodeAll(packed, nil)
	if err != nil {
		return o, fmt.Errorf("decompress a shared result: %w", err)
	}
	o.Content = string(content)
	return o, nil
}

// budget bounds the bytes that this process keeps in Redis. What goes beyond is kept for those who wait only.
type budget struct {
	limit int

	mu   sync.Mutex
	used int      // guarded by mu
	kept expiries // guarded by mu
}

func (b *budget) admit(size int, keep time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	for len(b.kept) > 0 && now.After(b.kept[0].at) {
		b.used -= heap.Pop(&b.kept).(expiry).size
	}
	if b.used+size > b.limit {
		return false
	}
	b.used += size
	heap.Push(&b.kept, expiry{now.Add(keep), size})
	return true
}

type expiry struct {
	at   time.Time
	size int
}

// expiries is a heap, the earliest first.
type expiries []expiry

func (e expiries) Len() int           { return len(e) }
func (e expiries) Less(i, j int) bool { return e[i].at.Before(e[j].at) }
func (e expiries) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *expiries) Push(x any)        { *e = append(*e, x.(expiry)) }
func (e *expiries) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}

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
	inlineUpTo   = 32 << 10 // bytes, compressed; a longer body gets its own key and is read and written outside of scripts
	maxBody      = 8 << 20  // bytes, compressed; a longer one is not shared
	maxContent   = 64 << 20 // bytes, once decompressed
)

// The first character of an encoded outcome is its kind, the second the encoding of the rest.
const (
	wentWell = 'o'
	wentBad  = 'f'

	writtenPlain = 'p'
	writtenZstd  = 'z'
	writtenBlob  = 'b' // the rest is the token in the name of the key with the compressed body
	writtenNot   = 'n' // too long to be shared
)

// errGone is the error for an outcome whose body has expired.
var errGone = errors.New("the body of a shared result has expired")

// codec compresses and decompresses. Safe for concurrent use.
type codec struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
}

func newCodec() (codec, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2))
	if err != nil {
		return codec{}, fmt.Errorf("create a compressor: %w", err)
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(maxContent))
	if err != nil {
		return codec{}, fmt.Errorf("create a decompressor: %w", err)
	}
	return codec{e, d}, nil
}

// encode encodes an outcome. A long outcome has a body with its own key; body is nil otherwise.
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

// decode decodes an outcome, and reads its body if it has one.
func (s *Sharer) decode(ctx context.Context, keys callKeys, text string) (toolpool.Shared, error) {
	if len(text) < 2 {
		return toolpool.Shared{}, errors.New("a shared result has an unknown format")
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
		return o, errors.New("a shared result is too long to share")
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

// budget limits the bytes that this process stores in Redis. Results over the limit are stored for waiting processes only.
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

// expiries is a heap, earliest first.
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
